"""The tables for people and the JSON for programs."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.beat.contenders import Contender
from benchmarks.beat.measures import MEASURES, Measure
from benchmarks.beat.plan import Plan
from benchmarks.beat.readings import Missing, Reading, Readings, over_rounds, ratio, to_json
from benchmarks.report import processor

_PACKAGES = ("celery", "kombu", "django", "django-celery-beat", "psycopg")
_NOT_MEASURED = Missing(why="not measured")

Measured = Mapping[int, Mapping[type[Contender], Sequence[Readings]]]
"""By number of schedules and contender: one set of readings a round."""


def print_tables(console: Console, measured: Measured) -> None:
    """Print one table per number of schedules: a line for each measure, a column for each contender."""
    for size, of_size in measured.items():
        table = Table(title=f"{size:,} schedules, of which nearly all are due some other time")
        table.add_column("")
        table.add_column("aim", justify="right")
        for contender in of_size:
            table.add_column(contender.title, justify="right")
        for measure in MEASURES:
            cells = [cell(over_rounds(_of(measure, rounds)), digits=measure.digits) for rounds in of_size.values()]
            if any(cells):
                table.add_row(measure.title, measure.aim, *cells)
        console.print(table)


def cell(reading: Reading, *, digits: int) -> str:
    """Return a figure for the table; in its place the reason why there is none; nothing where none was wanted."""
    if reading == _NOT_MEASURED:
        return ""
    return f"({reading.why})" if isinstance(reading, Missing) else f"{reading:,.{digits}f}"


def data(
    measured: Measured, *, plan: Plan, servers: Mapping[str, str], imports: Mapping[type[Contender], float]
) -> dict[str, Any]:
    """Return everything that was measured, and on what."""
    return {
        "benchmark": "beat",
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "processor": processor(),
            "system": platform.platform(),
            "python": platform.python_version(),
        },
        "servers": dict(servers),
        "packages": {name: version(name) for name in _PACKAGES},
        "plan": asdict(plan),
        "imports_s": {kind.key: seconds for kind, seconds in imports.items()},
        "measures": {measure.key: asdict(measure) for measure in MEASURES},
        "schedules": {
            str(size): {
                kind.key: {
                    "title": kind.title,
                    "median": {m.key: to_json(over_rounds(_of(m, rounds))) for m in MEASURES},
                    "times_ours": _times_ours(of_size, rounds),
                    "rounds": [{key: to_json(reading) for key, reading in found.items()} for found in rounds],
                }
                for kind, rounds in of_size.items()
            }
            for size, of_size in measured.items()
        },
    }


def _times_ours(
    of_size: Mapping[type[Contender], Sequence[Readings]], rounds: Sequence[Readings]
) -> dict[str, dict[str, Any]]:
    """Compare with each of ours that ran in as many rounds."""
    return {
        ours.key: {m.key: to_json(ratio(_of(m, mine), _of(m, rounds))) for m in MEASURES}
        for ours, mine in of_size.items()
        if ours.ours and len(mine) == len(rounds)
    }


def _of(measure: Measure, rounds: Sequence[Readings]) -> list[Reading]:
    return [found.get(measure.key, _NOT_MEASURED) for found in rounds]
