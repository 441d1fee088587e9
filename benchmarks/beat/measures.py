"""What is measured, in the order in which it is shown, with the aim where there is one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """One line of the table. All figures are better when they are smaller, unless `more_is_better`."""

    key: str
    title: str
    digits: int = 0
    aim: str = ""
    more_is_better: bool = False


def _lag(due: int, *, p99: str, last: str) -> list[Measure]:
    return [
        Measure(key=f"lag{due}_p50_ms", title=f"{due:,} due at one instant: p50 lag, ms"),
        Measure(key=f"lag{due}_p99_ms", title="  p99 lag, ms", aim=p99),
        Measure(key=f"lag{due}_max_ms", title="  max lag, ms"),
        Measure(key=f"lag{due}_all_ms", title="  until the last is committed or sent, ms", aim=last),
    ]


MEASURES: Final = (
    Measure(key="imports_s", title="interpreter and imports only, s", digits=2),
    Measure(key="start_s", title="start of the process to its first fire, s", digits=2, aim="< 1"),
    Measure(key="intake_per_s", title="new schedules taken in a second", more_is_better=True),
    Measure(key="pss_mb", title="memory idle, PSS MB", aim="< 100"),
    Measure(key="rss_mb", title="memory idle, RSS MB"),
    Measure(key="pss_end_mb", title="memory after all the below, PSS MB", aim="< 100"),
    Measure(key="idle_beat_percent", title="CPU idle: beat, % of a core", digits=2, aim="< 1"),
    Measure(key="idle_postgres_percent", title="CPU idle: PostgreSQL, % of a core", digits=2),
    Measure(key="edit_ms", title="edit of one row: due until fired, median ms"),
    Measure(key="edit_max_ms", title="  max ms", aim="< 1000"),
    Measure(key="edit_cpu_ms", title="  CPU of beat, ms", digits=1),
    *_lag(1_000, p99="< 150", last="< 250"),
    *_lag(10_000, p99="", last="< 2000"),
    Measure(key="steady_per_s", title="fires a second of those offered", aim="5000", more_is_better=True),
    Measure(key="steady_p99_ms", title="  p99 lag, ms"),
    Measure(key="steady_beat_percent", title="  CPU of beat, % of a core"),
    Measure(key="steady_postgres_percent", title="  CPU of PostgreSQL, % of a core"),
    Measure(key="drain_per_s", title="overdue by one instant each: fires a second", more_is_better=True),
    Measure(key="drain_beat_us", title="  CPU of beat for each, µs"),
    Measure(key="drain_postgres_us", title="  CPU of PostgreSQL for each, µs"),
)
