"""When a job will fire, for people."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice

from jobs.models import Job, Schedule
from jobs.rules import (
    Rule,
    excluded,
    in_words,
    instants,
    jitter,
    last_deletion,
    only_on_request,
    rule_of,
    timetable,
)
from jobs.services.definitions.timing import refuse_never_due, rule_of_spec
from jobsched.domain.clockchanges import moved as moved_by_clock_changes
from jobsched.domain.errors import InvalidInput
from jobsched.domain.specs import JobSpec
from jobsched.domain.timetables import Once

WARN_AHEAD = timedelta(days=731)
"""How far ahead clock changes are warned of: two years."""
PREVIEW_LIMIT = 10_000
"""Instants looked at for a preview: a blackout may cover many."""
_FAR = timedelta(days=41 * 366)


@dataclass(frozen=True, kw_only=True, slots=True)
class Skipped:
    """An instant that will not be run, and why."""

    at: datetime
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Warned:
    """An instant that a clock change moves, in a sentence."""

    at: datetime
    sentence: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Preview:
    """A schedule in words, and its next instants."""

    words: str
    fires: list[datetime] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    """Instants before the last of `fires` that lie in excluded days or windows."""
    warnings: list[Warned] = field(default_factory=list)
    """Instants within the next two years that a clock change will move."""
    held: str = ""
    """Why none of `fires` will lead to a run for now: "paused", "switched off", or empty when they will."""


def preview(spec: JobSpec, *, count: int = 5) -> Preview:
    """Return the schedule of a job that need not be saved yet, in words and with its next instants."""
    now = datetime.now(UTC)
    wanted = spec.timetable(anchor=now)
    rule = rule_of_spec(spec, anchor=now, now=now)
    if wanted is None or rule is None:
        return Preview(words="only on request")
    words = f"{wanted.words()}, once only" if spec.run_once and not isinstance(wanted, Once) else wanted.words()
    once = spec.run_once or isinstance(wanted, Once)
    held = "paused" if spec.paused else ""
    found = _previewed(rule, words, after=now, count=1 if once else count, once=once, held=held)
    try:
        refuse_never_due(rule, now=now)
    except InvalidInput as error:
        found.warnings.insert(0, Warned(at=now, sentence=str(error)))
    return found


def preview_of(job: Job, *, count: int = 5) -> Preview:
    """Return the schedule of a saved job in words, and its next instants as the scheduler will fire them."""
    schedule = Schedule.objects.filter(job=job).with_rule().first()
    if schedule is None:
        return Preview(words=only_on_request(last_deletion(job)))
    task = schedule.periodic_task
    if not task.enabled:
        return Preview(words=in_words(schedule), held=schedule.held)
    return _previewed(
        rule_of(task, schedule),
        in_words(schedule),
        after=max(schedule.cursor, datetime.now(UTC)),
        count=1 if task.one_off else count,
        once=task.one_off,
        held=schedule.held,
        offset=jitter(schedule.pk, schedule.jitter),
    )


def _previewed(
    rule: Rule, words: str, *, after: datetime, count: int, once: bool, held: str, offset: timedelta = timedelta(0)
) -> Preview:
    exclusions = excluded(rule)
    fires: list[datetime] = []
    skipped: list[Skipped] = []
    for instant in islice(instants(rule, after=after, until=after + _FAR), PREVIEW_LIMIT):
        reason = exclusions.reason(instant) if exclusions else None
        if reason is None:
            fires.append(instant + offset)
        elif len(skipped) < count:
            skipped.append(Skipped(at=instant, reason=reason))
        if len(fires) == count:
            break
    last = fires[-1] if once and fires else None
    end = min(filter(None, (last, rule.expires, after + WARN_AHEAD)))
    warnings = [
        Warned(at=m.at, sentence=m.sentence) for m in moved_by_clock_changes(timetable(rule), after=after, until=end)
    ]
    return Preview(words=words, fires=fires, skipped=skipped, warnings=warnings, held=held)
