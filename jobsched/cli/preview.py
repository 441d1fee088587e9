"""When a job of a file will run, worked out here: as the API's preview, without a server."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from jobsched.domain.clockchanges import Moved, moved
from jobsched.domain.specs import JobSpec
from jobsched.domain.timetables import Every, Once, Timetable
from jobsched.domain.wallclock import OnTheClock

WARN_AHEAD: Final = timedelta(days=731)
"""How far ahead clock changes are warned of: two years."""
MOST_LOOKED_AT: Final = 10_000
"""Instants looked at for a preview: a blackout may cover many."""


def preview(spec: JobSpec, *, now: datetime, count: int) -> dict[str, Any]:
    """Return the schedule in words, its next instants, those of them that are skipped, warnings, and what holds it."""
    now = now.replace(microsecond=0)  # schedules count whole seconds, and so do their previews
    timetable = _timetable(spec, now)
    if timetable is None:
        return {"words": "only on request", "fires": [], "skipped": [], "warnings": [], "held": None}
    once = _is_once(spec, timetable)
    fires, skipped = _next(spec, timetable, now, 1 if once else count)
    warnings = _moved(spec, timetable, now, last=fires[-1] if once and fires else None)
    return {
        "words": f"{timetable.words()}, once only" if spec.run_once else timetable.words(),
        "fires": [_text(fire) for fire in fires],
        "skipped": [{"at": _text(at), "reason": reason} for at, reason in skipped],
        "warnings": [{"at": _text(warned.at), "sentence": warned.sentence} for warned in warnings],
        "held": "paused" if spec.paused else None,
    }


def warnings_of(spec: JobSpec, *, now: datetime) -> list[str]:
    """Return the warnings of `preview` alone, which take less time."""
    now = now.replace(microsecond=0)
    timetable = _timetable(spec, now)
    if not isinstance(timetable, OnTheClock):
        return []
    fires = _next(spec, timetable, now, 1)[0] if spec.run_once else []
    return [warned.sentence for warned in _moved(spec, timetable, now, last=fires[-1] if fires else None)]


def _is_once(spec: JobSpec, timetable: Timetable) -> bool:
    return spec.run_once or isinstance(timetable, Once)


def _moved(spec: JobSpec, timetable: Timetable, now: datetime, *, last: datetime | None) -> list[Moved]:
    until = min(filter(None, (spec.ends_at, last or now + WARN_AHEAD)))
    return moved(timetable, after=_begin(spec, now), until=until)


def _timetable(spec: JobSpec, now: datetime) -> Timetable | None:
    timetable = spec.timetable(anchor=now)
    if isinstance(timetable, Every) and spec.starts_at is not None:
        return replace(timetable, anchor=spec.starts_at - timetable.period)  # its start is its first instant
    return timetable


def _begin(spec: JobSpec, now: datetime) -> datetime:
    """Return the moment that everything comes strictly after. An instant that falls on the start counts."""
    return now if spec.starts_at is None else max(now, spec.starts_at - timedelta(seconds=1))


def _next(
    spec: JobSpec, timetable: Timetable, now: datetime, count: int
) -> tuple[list[datetime], list[tuple[datetime, str]]]:
    exclusions = spec.exclusions
    fires: list[datetime] = []
    skipped: list[tuple[datetime, str]] = []
    instant = _begin(spec, now)
    for _ in range(MOST_LOOKED_AT):
        following = timetable.after(instant)
        if len(fires) == count or following is None or (spec.ends_at and following >= spec.ends_at):
            break
        instant = following
        reason = exclusions.reason(instant)
        if reason is None:
            fires.append(instant)
        elif len(skipped) < count:
            skipped.append((instant, reason))
    return fires, skipped


def _text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
