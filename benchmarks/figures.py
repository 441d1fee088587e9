"""From what was measured to what is printed. Arithmetic only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Repetition:
    """One contender, measured once. CPU is in seconds over the whole backlog; None: could not be counted."""

    runs: int
    seconds: float
    worker_cpu: float
    postgres_cpu: float | None
    rabbitmq_cpu: float | None
    latencies_ms: tuple[float, ...]

    @property
    def rate(self) -> float:
        """Runs per second."""
        return self.runs / self.seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """One contender over all repetitions: medians, and percentiles of the latencies of all repetitions together."""

    rate: float
    slowest_rate: float
    fastest_rate: float
    cpu_per_1000: float
    worker_cpu_per_1000: float
    postgres_cpu_per_1000: float | None
    rabbitmq_cpu_per_1000: float | None
    p50_ms: float
    p99_ms: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least `percent` of all values do not exceed (nearest rank)."""
    if not values:
        raise ValueError("a percentile of nothing was asked for")
    return sorted(values)[max(1, math.ceil(len(values) * percent / 100)) - 1]


def summarize(repetitions: Sequence[Repetition]) -> Figures:
    """Return the figures of one contender. `cpu_per_1000` is the sum of the parts that could be counted."""
    rates = [r.rate for r in repetitions]
    worker = _per_1000(repetitions, [r.worker_cpu for r in repetitions])
    postgres = _per_1000(repetitions, [r.postgres_cpu for r in repetitions])
    rabbitmq = _per_1000(repetitions, [r.rabbitmq_cpu for r in repetitions])
    latencies = [ms for r in repetitions for ms in r.latencies_ms]
    return Figures(
        rate=median(rates),
        slowest_rate=min(rates),
        fastest_rate=max(rates),
        cpu_per_1000=(worker or 0.0) + (postgres or 0.0) + (rabbitmq or 0.0),
        worker_cpu_per_1000=worker or 0.0,
        postgres_cpu_per_1000=postgres,
        rabbitmq_cpu_per_1000=rabbitmq,
        p50_ms=percentile(latencies, 50),
        p99_ms=percentile(latencies, 99),
    )


def _per_1000(repetitions: Sequence[Repetition], seconds: Sequence[float | None]) -> float | None:
    known = [1000 * s / r.runs for r, s in zip(repetitions, seconds, strict=True) if s is not None]
    return median(known) if len(known) == len(repetitions) else None


def rate_ratio(ours: Sequence[Repetition], theirs: Sequence[Repetition]) -> float:
    """Return how many times as fast ours is.

    The median of the ratios within each round, not the ratio of the medians: what else the machine does comes
    and goes over minutes, and within a round it weighs on both.
    """
    return median(a.rate / b.rate for a, b in zip(ours, theirs, strict=True))
