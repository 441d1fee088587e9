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
    """A skipped run says why it was not run; or no beat had looked at its schedule before that was changed."""
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
    schedule = Schedule.objects.filter(job=job).with_rule().first()
    if schedule is None:
        raise InvalidInput(f"The job '{job.name}' has no schedule; it runs on request only.")
    ran = {run.scheduled_for: run for run in _runs(schedule, start, end)}
    unseen: set[datetime] = set()
    expected = list(islice(_expected(schedule, start, end, unseen), MOST_INSTANTS + 1))
    if len(expected) > MOST_INSTANTS:
        raise InvalidInput(
            f"The job '{job.name}' has more than {MOST_INSTANTS} instants in that period, "
            f"the last of them at {expected[-1].isoformat()}; ask for a shorter one."
        )
    told = list(_told(expected, schedule, ran, _skips(schedule, start, end), unseen))
    named = set(expected)
    return Account(start=start, end=end, instants=told, unexpected=[run for at, run in ran.items() if at not in named])


def _expected(schedule: Schedule, start: datetime, end: datetime, unseen: set[datetime]) -> Iterator[datetime]:
    """Yield the instants by each rule that the schedule had, one after the other. Note those no beat could know of."""
    begins = max(start, schedule.anchor)
    earlier = FormerSchedule.objects.filter(schedule=schedule, until__lte=begins).order_by("until").last()
    since = earlier.until if earlier else schedule.anchor
    for former in FormerSchedule.objects.filter(schedule=schedule, until__gt=begins).order_by("until"):
        until = min(former.until, end)
        if until > begins:
            once = former.rule.get("one_off", False)
            for instant in _by(former_rule(former), schedule, since if once else None, after=begins, until=until):
                if former.rule.get("unseen", False):
                    unseen.add(instant)
                yield instant
            begins = since = until
    if begins < end:
        once = schedule.periodic_task.one_off
        rule = rule_of(schedule.periodic_task, schedule)
        yield from _by(rule, schedule, since if once else None, after=begins, until=end)


def _by(
    rule: Rule, schedule: Schedule, once_since: datetime | None, *, after: datetime, until: datetime
) -> Iterator[datetime]:
    """Yield the instants of a rule. Of one that fires once, in force from `once_since` on, those up to the one that
    was run, or is yet to be.
    """
    exclusions = excluded(rule)
    ran = _ran(schedule, once_since, until) if once_since else None
    if ran and ran <= after:
        return
    for instant in instants(rule, after=after, until=until):
        yield instant
        if once_since and instant >= (ran or schedule.cursor) and not (exclusions and exclusions.reason(instant)):
            return


def _ran(schedule: Schedule, after: datetime, until: datetime) -> datetime | None:
    found = Run.objects.filter(schedule=schedule, trigger=Run.Trigger.SCHEDULE, scheduled_for__gt=after)
    ran = found.filter(scheduled_for__lte=until).exclude(state="skipped").order_by("-scheduled_for").first()
    return ran.scheduled_for if ran else None


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
    expected: list[datetime],
    schedule: Schedule,
    ran: dict[datetime | None, Run],
    skips: list[Run],
    unseen: set[datetime],
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
        elif at in unseen:
            why = "no beat had looked at its schedule before that was changed"
            yield Instant(at=at, became=Became.SKIPPED, run=None, reason=why)
        elif at > schedule.cursor:
            yield Instant(at=at, became=Became.OWED, run=None, reason=f"it is {held}" if held else "it is due")
        else:
            yield Instant(at=at, became=Became.UNEXPLAINED, run=None, reason="")
