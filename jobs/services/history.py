"""Expected against actual: for any period, what became of every instant of a schedule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import islice

from jobs.models import FormerSchedule, Job, Run, Schedule
from jobs.rules import Rule, excluded, former_rule, instants, rule_of
from jobsched.domain.errors import InvalidInput

MOST_INSTANTS = 10_000
"""In one answer: as many as a person may page through, and a second of work."""


class Became(StrEnum):
    """What became of an instant."""

    RUN = "run"
    """It led to a run."""
    SKIPPED = "skipped"
    """A skipped run says why it was not run."""
    OWED = "owed"
    """It is not accounted for yet: just due, or the schedule is held and its catch-up rule will decide."""
    UNEXPLAINED = "unexplained"
    """Nothing tells of it. This must not be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Instant:
    """One instant that was expected, and the run that tells what became of it."""

    at: datetime
    became: Became
    run: Run | None
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """All instants of a period. `unexpected` are runs of the schedule at moments that its rules do not name."""

    start: datetime
    end: datetime
    instants: list[Instant]
    unexpected: list[Run]

    def count(self, became: Became) -> int:
        """Return how many instants became that."""
        return sum(instant.became is became for instant in self.instants)


def account(job: Job, *, start: datetime, end: datetime) -> Account:
    """Return what became of every instant after `start` up to `end`, by the rules that held at the time.

    Raises InvalidInput when the period is empty or holds more instants than MOST_INSTANTS.
    """
    if start >= end:
        raise InvalidInput(f"the period ends ({end.isoformat()}) before it begins ({start.isoformat()}).")
    schedule = (
        Schedule.objects.filter(job=job)
        .select_related(*(f"periodic_task__{kind}" for kind in ("crontab", "interval", "clocked", "solar")))
        .first()
    )
    if schedule is None:
        raise InvalidInput(f"The job '{job.name}' has no schedule; it runs on request only.")
    expected = list(islice(_expected(schedule, start, end), MOST_INSTANTS + 1))
    if len(expected) > MOST_INSTANTS:
        raise InvalidInput(
            f"The job '{job.name}' has more than {MOST_INSTANTS} instants in that period, "
            f"the last of them at {expected[-1].isoformat()}; ask for a shorter one."
        )
    ran = {run.scheduled_for: run for run in _runs(schedule, start, end)}
    told = list(_told(expected, schedule, ran, _skips(schedule, start, end)))
    named = set(expected)
    return Account(start=start, end=end, instants=told, unexpected=[run for at, run in ran.items() if at not in named])


def _expected(schedule: Schedule, start: datetime, end: datetime) -> Iterator[datetime]:
    """Yield the instants by each rule that the schedule had, one after the other."""
    begins = max(start, schedule.anchor)
    for former in FormerSchedule.objects.filter(schedule=schedule, until__gt=begins).order_by("until"):
        until = min(former.until, end)
        if until > begins:
            yield from _by(former_rule(former), former.rule.get("one_off", False), begins, until)
            begins = until
    if begins < end:
        yield from _by(rule_of(schedule.periodic_task, schedule), schedule.periodic_task.one_off, begins, end)


def _by(rule: Rule, one_off: bool, after: datetime, until: datetime) -> Iterator[datetime]:
    exclusions = excluded(rule)
    for instant in instants(rule, after=after, until=until):
        yield instant
        if one_off and not (exclusions and exclusions.reason(instant)):
            return


def _runs(schedule: Schedule, start: datetime, end: datetime) -> Iterator[Run]:
    found = Run.objects.filter(schedule=schedule, scheduled_for__gt=start, scheduled_for__lte=end)
    return found.exclude(state="skipped").order_by("scheduled_for").iterator()


def _skips(schedule: Schedule, start: datetime, end: datetime) -> list[Run]:
    found = Run.objects.filter(schedule=schedule, state="skipped", scheduled_for__lte=end)
    return [
        run
        for run in found.order_by("scheduled_for").iterator()
        if (run.skipped_until or run.scheduled_for or start) > start
    ]


def _told(
    expected: list[datetime], schedule: Schedule, ran: dict[datetime | None, Run], skips: list[Run]
) -> Iterator[Instant]:
    held = schedule.held_why if schedule.paused or schedule.switched_off else ""
    over: list[Run] = []
    """Skipped runs that the present instant may lie in."""
    for at in expected:
        while skips and skips[0].scheduled_for and skips[0].scheduled_for <= at:
            over.append(skips.pop(0))
        over = [run for run in over if run.scheduled_for == at or (run.skipped_until and run.skipped_until >= at)]
        if run := ran.get(at):
            yield Instant(at=at, became=Became.RUN, run=run, reason=run.reason)
        elif over:
            yield Instant(at=at, became=Became.SKIPPED, run=over[-1], reason=over[-1].reason)
        elif at > schedule.cursor:
            yield Instant(at=at, became=Became.OWED, run=None, reason=f"it is {held}" if held else "it is due")
        else:
            yield Instant(at=at, became=Became.UNEXPLAINED, run=None, reason="")
