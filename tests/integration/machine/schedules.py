"""The machine of schedules: whatever is done to them, every instant has exactly one record.

Time is the database's clock, which the machine sets: nothing waits. The clock also moves a little with every reading,
as a real one does: an instant may fall between two readings of one trigger.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import hypothesis.strategies as st
from django.db.models import Q
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from jobs.models import Job, Schedule
from jobs.services import control, definitions, history, scheduling
from jobs.services.history import Became
from jobs.store.session import django_connection
from jobsched.domain.errors import InvalidInput
from jobsched.domain.specs import JobSpec
from tests.integration.clock import DatabaseClock

START = datetime(2035, 3, 25, 0, 58, 30, tzinfo=UTC)
"""Berlin's clocks change a minute and a half later. In the future, as `at` in the past is refused."""
STEP = timedelta(milliseconds=7)
"""How far each reading moves the clock."""
LONGEST_JITTER = timedelta(seconds=90)

TIMETABLES: tuple[dict[str, Any], ...] = (
    {"schedule": "* * * * *"},
    {"schedule": "*/2 * * * *", "timezone": "Europe/Berlin"},
    {"schedule": "0,1,2,3,30,59 1-4 * * *", "timezone": "Europe/Berlin"},
    {"schedule": "* * * * *", "timezone": "Asia/Kathmandu"},
    {"schedule": "20s"},
    {"schedule": "90s"},
    {"schedule": "* * * * *", "run_once": True},
    {"schedule": "RRULE:FREQ=MINUTELY;INTERVAL=3"},
)
ZONES = ("UTC", "Europe/Berlin", "Asia/Kathmandu", "America/Sao_Paulo")

names = st.sampled_from(["a", "b", "c"])
jitters = st.sampled_from([timedelta(0), timedelta(seconds=20), timedelta(seconds=55), LONGEST_JITTER])
blackouts = st.sampled_from([(), ("01:00-01:02",), ("00:00-23:59",)])
minutes = st.sampled_from(["*", "*/2", "0-58"])
catch_ups = st.sampled_from(["none", "latest", "all"])
seconds = st.integers(0, 100)
gaps = st.tuples(st.integers(0, 150), st.integers(0, 3))
"""How many seconds pass before something is done, and how often a beat looks meanwhile."""


class Schedules(RuleBasedStateMachine):
    """Three jobs, and as many beats as there are calls of their verbs."""

    clock: ClassVar[DatabaseClock]
    met: ClassVar[Counter[str]] = Counter()
    """What became of all instants, and how often each thing was done."""

    def __init__(self) -> None:
        super().__init__()
        for table in (
            "django_celery_beat_periodictask",
            "jobs_run",
            "jobs_transition",
            "jobs_formerschedule",
            "django_celery_beat_crontabschedule",
            "django_celery_beat_intervalschedule",
            "django_celery_beat_clockedschedule",
        ):
            django_connection(f"DELETE FROM {table}", {})
        django_connection("UPDATE jobs_job SET archived_at = clock_timestamp() WHERE archived_at IS NULL", {})
        self.clock.set(START, step=STEP)

    @initialize(timetable=st.sampled_from(TIMETABLES), jitter=jitters)
    def begin(self, timetable: dict[str, Any], jitter: timedelta) -> None:
        for name in ("a", "b", "c"):
            definitions.save(JobSpec(name=name, run="true", jitter=jitter, **timetable), actor="ada")
        self.tick()

    def tick(self) -> None:
        """What a beat does with schedules."""
        scheduling.refresh_edited()
        scheduling.fire_due()

    def pass_time(self, gap: tuple[int, int]) -> None:
        length, beats = gap
        for _ in range(max(1, beats)):
            self.clock.advance(timedelta(seconds=length) / max(1, beats))
            if beats:
                self.tick()

    @rule(gap=gaps)
    def nothing_is_done(self, gap: tuple[int, int]) -> None:
        self.pass_time(gap)

    @rule(
        gap=gaps,
        name=names,
        timetable=st.sampled_from(TIMETABLES),
        jitter=jitters,
        blackout=blackouts,
        policy=catch_ups,
        paused=st.booleans(),
        start=st.none() | seconds,
        end=st.none() | seconds,
    )
    def save(
        self,
        gap: tuple[int, int],
        name: str,
        timetable: dict[str, Any],
        jitter: timedelta,
        blackout: tuple[str, ...],
        policy: str,
        paused: bool,
        start: int | None,
        end: int | None,
    ) -> None:
        """A job is made, or changed, with all that says when."""
        self.pass_time(gap)
        now = self.clock.now()
        keys = {"start": start is not None and now + timedelta(seconds=start)}
        keys["end"] = end is not None and now + timedelta(seconds=100 + end)
        spec = JobSpec(
            name=name,
            run="true",
            jitter=jitter,
            blackout=blackout,
            catch_up={"policy": policy, "window": "1d", "limit": 3},
            paused=paused,
            **timetable,
            **{key: value for key, value in keys.items() if value},
        )
        try:
            result = definitions.save(spec, actor="ada").result
        except InvalidInput:  # it leaves no instant to come; nothing was changed
            result = "refused"
        self.met[f"save: {result}"] += 1

    @rule(gap=gaps, name=names, ahead=seconds, jitter=jitters)
    def save_moment(self, gap: tuple[int, int], name: str, ahead: int, jitter: timedelta) -> None:
        """A job is to fire at one moment."""
        self.pass_time(gap)
        moment = (self.clock.now() + timedelta(seconds=1 + ahead)).replace(microsecond=0)
        definitions.save(JobSpec(name=name, run="true", at=moment, jitter=jitter), actor="ada")

    @rule(gap=gaps, name=names, jitter=jitters, blackout=blackouts)
    def edit_ours(self, gap: tuple[int, int], name: str, jitter: timedelta, blackout: tuple[str, ...]) -> None:
        """Our own row is changed, and nothing else."""
        self.pass_time(gap)
        exclusions = {"exclude": [], "blackout": list(blackout), "timezone": "UTC"} if blackout else None
        found = Schedule.objects.filter(job__name=name, job__archived_at=None)
        self.met["our row edited"] += found.update(jitter=jitter, exclusions=exclusions)

    @rule(
        gap=gaps,
        minute=st.sampled_from(["*", "*/2", "0-58"]),
        zone=st.sampled_from(ZONES),
        every=st.sampled_from([20, 30, 45]),
    )
    def edit_shared(self, gap: tuple[int, int], minute: str, zone: str, every: int) -> None:
        """The rows that several jobs share are changed: another rule, another time zone."""
        self.pass_time(gap)
        CrontabSchedule.objects.update(minute=minute, timezone=zone)
        IntervalSchedule.objects.update(every=every)

    @rule(gap=gaps, name=names, pause=st.booleans())
    def hold_job(self, gap: tuple[int, int], name: str, pause: bool) -> None:
        self.pass_time(gap)
        for job in Job.objects.current().filter(name=name):
            self.met["paused" if pause else "resumed"] += (control.pause if pause else control.resume)(job)

    @rule(gap=gaps, name=names, on=st.booleans())
    def switch(self, gap: tuple[int, int], name: str, on: bool) -> None:
        """The row is switched off or on by SQL or another program."""
        self.pass_time(gap)
        self.met[f"switched {'on' if on else 'off'}"] += self._tasks(name).exclude(enabled=on).update(enabled=on)

    @rule(gap=gaps, name=names, how=st.sampled_from(["verb", "ORM", "SQL"]))
    def delete(self, gap: tuple[int, int], name: str, how: str) -> None:
        """The schedule of a job is deleted; the job stays."""
        self.pass_time(gap)
        found = list(self._tasks(name))
        for task in found:
            match how:
                case "verb":
                    definitions.save(JobSpec(name=name, run="true"), actor="ada")
                case "ORM":
                    task.delete()
                case _:
                    django_connection("DELETE FROM django_celery_beat_periodictask WHERE id = %(id)s", {"id": task.pk})
        self.met[f"deleted by {how}"] += len(found)

    def _tasks(self, name: str) -> Any:
        return PeriodicTask.objects.filter(jobs_schedule__job__name=name, jobs_schedule__job__archived_at=None)

    def teardown(self) -> None:
        """Every instant has exactly one record, or waits for a reason that still holds."""
        self.tick()
        self.clock.advance(LONGEST_JITTER + timedelta(seconds=5))
        for _ in range(3):
            self.tick()
        now = self.clock.now()
        for job in Job.objects.current():
            held = Schedule.objects.filter(Q(paused=True) | Q(switched_off=True), job=job).exists()
            account = history.account(job, start=START, end=now)
            for instant in account.instants:
                self.met[instant.became.value] += 1
                assert instant.became is not Became.UNEXPLAINED, f"{job.name}: {instant.at} has no record"
                also = getattr(instant, "also", ())
                assert not also, f"{job.name}: {instant.at} has two records: {instant.run} and {also}"
                late = instant.became is Became.OWED and instant.at < now - LONGEST_JITTER - timedelta(seconds=5)
                assert held or not late, f"{job.name}: {instant.at} is still owed"
            assert not account.unexpected, f"{job.name}: no rule names {account.unexpected}"
