"""What one measurement yields: a figure, or why there is none. Arithmetic only."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.figures import percentile


@dataclass(frozen=True, kw_only=True, slots=True)
class Missing:
    """A measurement that gave no figure. It is shown as this, never as a number."""

    why: str
    """A few words for a table's cell."""


Reading = float | Missing
Readings = Mapping[str, Reading]
"""By the key of the measure."""


def over_rounds(readings: Sequence[Reading]) -> Reading:
    """Return the median over all rounds; what is missing in one round is missing."""
    figures: list[float] = []
    for reading in readings:
        if isinstance(reading, Missing):
            return reading
        figures.append(reading)
    return median(figures) if figures else Missing(why="not measured")


def ratio(ours: Sequence[Reading], theirs: Sequence[Reading]) -> Reading:
    """Return how many times ours their figure is: the median of the ratios within each round."""
    ratios: list[Reading] = []
    for mine, other in zip(ours, theirs, strict=True):
        if isinstance(mine, Missing) or isinstance(other, Missing):
            return mine if isinstance(mine, Missing) else other
        ratios.append(other / mine if mine else Missing(why="ours is 0"))
    return over_rounds(ratios)


def lags(
    prefix: str, fired: Mapping[int, Sequence[float]], *, wanted: Collection[int], at: float
) -> dict[str, Reading]:
    """Return p50, p99 and max in milliseconds of the time from `at` until each of `wanted` fired.

    `fired` holds, for each schedule, the moments at which it fired. All wanted ones must have fired exactly once and
    nothing else may have: otherwise there is no figure.
    """
    why = _what_is_wrong(fired, wanted)
    if why:
        return {f"{prefix}_{part}": Missing(why=why) for part in ("p50_ms", "p99_ms", "max_ms")}
    late_ms = [1000 * (moments[0] - at) for moments in fired.values()]
    if min(late_ms) < -1:
        early = Missing(why=f"{sum(ms < -1 for ms in late_ms):,} fired before the instant")
        return {f"{prefix}_{part}": early for part in ("p50_ms", "p99_ms", "max_ms")}
    return {
        f"{prefix}_p50_ms": percentile(late_ms, 50),
        f"{prefix}_p99_ms": percentile(late_ms, 99),
        f"{prefix}_max_ms": max(late_ms),
    }


def _what_is_wrong(fired: Mapping[int, Sequence[float]], wanted: Collection[int]) -> str | None:
    expected = set(wanted)
    if others := fired.keys() - expected:
        return f"{len(others):,} fired that were not due"
    if twice := sum(len(moments) > 1 for moments in fired.values()):
        return f"{twice:,} of {len(expected):,} fired twice"
    if len(fired) < len(expected):
        return f"{len(fired):,} of {len(expected):,} left in time"
    return None


def percent(cpu_seconds: float | None, seconds: float) -> Reading:
    """Return CPU time as a share of one core over a span, in percent."""
    return Missing(why="not to be seen") if cpu_seconds is None else 100 * cpu_seconds / seconds


def above_idle(cpu_seconds: float, seconds: float, *, idle_percent: Reading, events: int) -> Reading:
    """Return the CPU milliseconds that each of some events cost, beyond what the span costs without them."""
    if isinstance(idle_percent, Missing):
        return idle_percent
    return max(0.0, 1000 * (cpu_seconds - seconds * idle_percent / 100) / events)


def micros_each(cpu_seconds: float | None, events: int) -> Reading:
    """Return CPU microseconds for each of some events."""
    return Missing(why="not to be seen") if cpu_seconds is None else 1e6 * cpu_seconds / events


def to_json(reading: Reading) -> Any:
    """Return a number, or an object that says why there is none."""
    return {"missing": reading.why} if isinstance(reading, Missing) else reading
