"""Expected against actual: for any period, what became of every instant of a job's schedule."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import islice

from jobs.models import FormerSchedule, Job, Run, Schedule
from jobs.rules import Deletion, Rule, deletion, excluded, former_rule, instants, last_deletion, rule_of
from jobsched.domain.errors import InvalidInput
from jobsched.domain.wallclock import utc

MOST_INSTANTS = 10_000
"""In one answer: as many as a person may page through, and a second of work."""


class Became(StrEnum):
    """What became of an instant."""

    RUN = "run"
    """It led to a run."""
    SKIPPED = "skipped"
    """A skipped run says why it was not run."""
    OWED = "owed"
    """It is not accounted for yet: just due, the schedule is held and its catch-up rule will decide, or a beat is about
    to record it as skipped."""
    UNEXPLAINED = "unexplained"
    """It has no record. This must not be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Instant:
    """One instant that was expected, and the run that is its record.

    `also` are further records of the same instant: a skipped run beside the run of a backfill. There is one without a
    backfill only by a mistake of ours.
    """

    at: datetime
    became: Became
    run: Run | None
    reason: str
    also: tuple[Run, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """All instants of a period. `unexpected` are runs of the schedule at moments that its rules do not name."""

    start: datetime
    end: datetime
    instants: list[Instant]
    unexpected: list[Run]
    deletions: list[Deletion] = field(default_factory=list)
    """Within the period, or before it if the job has no schedule now."""

    def count(self, became: Became) -> int:
        """Return how many instants became that."""
        return sum(instant.became is became for instant in self.instants)


def account(job: Job, *, start: datetime, end: datetime) -> Account:
    """Return what became of every instant after `start` up to `end`, by the rules that held at the time.

    Raises InvalidInput when the period is empty or holds more instants than MOST_INSTANTS.
    """
    start, end = utc(start), utc(end)
    if start >= end:
        raise InvalidInput(f"the period ends ({end.isoformat()}) before it begins ({start.isoformat()}).")
    periods, deletions = _periods(job, start, end)
    if not periods and not deletions:
        raise InvalidInput(f"The job '{job.name}' has no schedule; it runs on request only.")
    expected = list(islice(_expected(periods), MOST_INSTANTS + 1))
    if len(expected) > MOST_INSTANTS:
        raise InvalidInput(
            f"The job '{job.name}' has more than {MOST_INSTANTS} instants in that period, "
            f"the last of them at {expected[-1][0].isoformat()}; ask for a shorter one."
        )
    schedules = {period.schedule_id for period in periods}
    ran = {(run.schedule_id, run.scheduled_for): run for run in _runs(schedules, start, end)}
    found: list[Instant] = []
    for schedule in sorted(schedules):
        of_it = [(at, period) for at, period in expected if period.schedule_id == schedule]
        found += _became(
            of_it, {at: run for (id, at), run in ran.items() if id == schedule}, _skips(schedule, start, end)
        )
    named = {(period.schedule_id, at) for at, period in expected}
    return Account(
        start=start,
        end=end,
        instants=sorted(found, key=lambda instant: instant.at),
        unexpected=[run for key, run in ran.items() if key not in named],
        deletions=deletions,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Period:
    """A stretch of time in which one rule held: after one moment, up to another."""

    schedule_id: int
    rule: Rule
    after: datetime
    until: datetime
    once_since: datetime | None
    """For a rule that fires once: when it began to count."""
    accounted_until: datetime
    why_open: str
    """Why instants after `accounted_until` have no record yet."""


def _periods(job: Job, start: datetime, end: datetime) -> tuple[list[_Period], list[Deletion]]:
    schedule = Schedule.objects.filter(job=job).with_rule().first()
    found: list[_Period] = []
    formers = FormerSchedule.objects.filter(job=job)
    deleted = FormerSchedule.objects.deletions().filter(job=job, until__gt=start, until__lte=end)
    deletions = [deletion(former) for former in reversed(deleted)]
    if schedule is None and not deletions and (before := last_deletion(job)) and before.at <= start:
        deletions = [before]
    for former in formers.filter(until__gt=start, begins__lt=end).order_by("until", "id"):
        rule = former_rule(former.rule, begins=former.begins)
        found.append(
            _Period(
                schedule_id=former.schedule_id,
                rule=rule,
                after=max(start, former.begins),
                until=min(end, former.until),
                once_since=former.begins if former.rule.get("one_off", False) else None,
                accounted_until=former.begins if former.unrecorded else former.until,
                why_open="its schedule was changed or deleted before a beat had looked at it",
            )
        )
    if schedule is not None and (present := _present(schedule, start, end)):
        found.append(present)
    return found, deletions


def _present(schedule: Schedule, start: datetime, end: datetime) -> _Period | None:
    """Return the period of the rule that holds now."""
    last = FormerSchedule.objects.filter(schedule=schedule, job=schedule.job).order_by("until", "id").last()
    begins = last.until if last else schedule.anchor
    held = schedule.paused or schedule.switched_off
    if begins >= end or (held and not schedule.held_why):  # made held, it has no instants until it is resumed
        return None
    return _Period(
        schedule_id=schedule.pk,
        rule=rule_of(schedule.periodic_task, schedule),
        after=max(start, begins),
        until=end,
        once_since=begins if schedule.periodic_task.one_off else None,
        accounted_until=schedule.cursor,
        why_open=f"it is {schedule.held_why}" if held else "it is due",
    )


def _expected(periods: list[_Period]) -> Iterator[tuple[datetime, _Period]]:
    """Yield the instants of each period, one period after the other."""
    for period in periods:
        if period.after < period.until:
            for at in _by(period):
                yield at, period


def _by(period: _Period) -> Iterator[datetime]:
    """Yield the instants of a rule. Of one that fires once, those up to the one that was run, or is yet to be."""
    exclusions = excluded(period.rule)
    once = period.once_since
    ran = _ran(period.schedule_id, once, period.until) if once else None
    if ran and ran <= period.after:
        return
    for instant in instants(period.rule, after=period.after, until=period.until):
        yield instant
        if once and instant >= (ran or period.accounted_until) and not (exclusions and exclusions.reason(instant)):
            return


def _ran(schedule_id: int, after: datetime, until: datetime) -> datetime | None:
    found = Run.objects.filter(schedule=schedule_id, trigger=Run.Trigger.SCHEDULE, scheduled_for__gt=after)
    ran = found.filter(scheduled_for__lte=until).exclude(state="skipped").order_by("-scheduled_for").first()
    return ran.scheduled_for if ran else None


def _runs(schedules: Collection[int], start: datetime, end: datetime) -> Iterator[Run]:
    found = Run.objects.filter(schedule__in=schedules, scheduled_for__gt=start, scheduled_for__lte=end)
    return found.exclude(state="skipped").order_by("scheduled_for").iterator()


def _skips(schedule_id: int, start: datetime, end: datetime) -> list[Run]:
    found = Run.objects.filter(schedule=schedule_id, state="skipped", scheduled_for__lte=end)
    return [
        run
        for run in found.order_by("scheduled_for").iterator()
        if (run.skipped_until or run.scheduled_for or start) > start
    ]


def _became(
    expected: list[tuple[datetime, _Period]], ran: dict[datetime | None, Run], skips: list[Run]
) -> Iterator[Instant]:
    whole = _without_gaps([at for at, _ in expected], skips)
    over: list[Run] = []
    """Skipped runs that the present instant may lie in."""
    waiting = list(reversed(skips))
    for at, period in expected:
        while waiting and waiting[-1].scheduled_for and waiting[-1].scheduled_for <= at:
            over.append(waiting.pop())
        over = [run for run in over if run.scheduled_for == at or (run.skipped_until and run.skipped_until >= at)]
        certain = [run for run in over if run.scheduled_for == at or run.pk in whole]
        if run := ran.get(at):
            yield Instant(at=at, became=Became.RUN, run=run, reason=run.reason, also=tuple(certain))
        elif over:
            skip = certain[-1] if certain else over[-1]
            also = tuple(run for run in certain if run is not skip)
            yield Instant(at=at, became=Became.SKIPPED, run=skip, reason=skip.reason, also=also)
        elif at > period.accounted_until:
            yield Instant(at=at, became=Became.OWED, run=None, reason=period.why_open)
        else:
            yield Instant(at=at, became=Became.UNEXPLAINED, run=None, reason="")


def _without_gaps(expected: list[datetime], skips: list[Run]) -> set[int]:
    """Return the skipped runs that stand for every instant from their first to their last.

    Those of a blackout that comes again and again may leave out what lies in between.
    """
    found: set[int] = set()
    for run in skips:
        first, last = run.scheduled_for, run.skipped_until or run.scheduled_for
        if first is None or last is None:
            continue
        within = bisect_right(expected, last) - (begin := bisect_left(expected, first))
        begins_here = expected[begin : begin + 1] == [first]  # else part of it lies before the period
        if run.skipped_count is None or (begins_here and within <= run.skipped_count):
            found.add(run.pk)
    return found
