"""The table for people and the JSON for programs."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.contenders import OURS, Contender
from benchmarks.contenders.ours import OursIsolated
from benchmarks.figures import Figures, Repetition, rate_ratio, summarize
from benchmarks.floor import Floor
from benchmarks.measure import Plan

_PACKAGES = (
    "celery",
    "kombu",
    "django",
    "django-celery-results",
    "procrastinate",
    "pgqueuer",
    "psycopg",
    "asyncpg",
)

Measured = Mapping[type[Contender], Sequence[Repetition]]


def print_table(console: Console, measured: Measured, *, rabbitmq_counted: bool, postgres_counted: bool) -> None:
    """Print one line per contender. A ratio above 1 says that ours does more runs per second."""
    mains = [main for main in OURS[:2] if main in measured]
    table = Table(title="A no-op Python job, two worker processes, same PostgreSQL and RabbitMQ")
    table.add_column("")
    for heading in ("runs/s", "(range)", "CPU s/1,000", "(workers)", "p50 ms", "p99 ms"):
        table.add_column(heading, justify="right")
    for main in mains:
        table.add_column(f"{main.short}\nis faster by", justify="right")
    for kind, repetitions in measured.items():
        figures = summarize(repetitions)
        table.add_row(
            kind.title,
            *_cells(figures),
            *[f"{rate_ratio(measured[main], repetitions):.2f}x" for main in mains],
            style="bold" if kind in OURS else "",
        )
    console.print(table)
    if not postgres_counted:
        console.print("CPU: PostgreSQL not counted, its processes are not to be seen from here.")
    if not rabbitmq_counted:
        console.print("CPU: RabbitMQ not counted, its process is not to be seen from here.")
    for kind in measured:
        console.print(f"{kind.title}: {kind.settings}", style="dim", highlight=False)


def _cells(figures: Figures) -> list[str]:
    return [
        f"{figures.rate:,.0f}",
        f"{figures.slowest_rate:,.0f} to {figures.fastest_rate:,.0f}",
        f"{figures.cpu_per_1000:.2f}",
        f"{figures.worker_cpu_per_1000:.2f}",
        f"{figures.p50_ms:.1f}",
        f"{figures.p99_ms:.1f}",
    ]


def print_floor(console: Console, floor: Floor, measured: Measured) -> None:
    """Say what a process per run costs on this machine when nothing else is done, and how near ours comes."""
    line = f"Fork and exit of a process with the project loaded, nothing else: {floor.median:,.0f} a second"
    if OursIsolated in measured:
        share = summarize(measured[OursIsolated]).rate / floor.median
        line += f"; jobsched, process per run, does {share:.0%} of that"
    console.print(line, highlight=False)


def to_json(measured: Measured, *, floor: Floor, plan: Plan, servers: Mapping[str, str]) -> dict[str, Any]:
    """Return everything that was measured, and on what."""
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "processor": processor(),
            "system": platform.platform(),
            "python": platform.python_version(),
        },
        "servers": dict(servers),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "plan": asdict(plan),
        "bare_forks_per_second": {"median": floor.median, "rounds": list(floor.rates)},
        "contenders": {
            kind.key: {
                "title": kind.title,
                "settings": kind.settings,
                **summarize(repetitions).to_json(),
                "ratio_to_ours": {
                    ours.key: rate_ratio(measured[ours], repetitions) for ours in OURS if ours in measured
                },
                "repetitions": [
                    {
                        "runs": r.runs,
                        "seconds": r.seconds,
                        "rate": r.rate,
                        "worker_cpu": r.worker_cpu,
                        "postgres_cpu": r.postgres_cpu,
                        "rabbitmq_cpu": r.rabbitmq_cpu,
                        "latencies_ms": [round(ms, 3) for ms in r.latencies_ms],
                    }
                    for r in repetitions
                ],
            }
            for kind, repetitions in measured.items()
        },
    }


def write_json(data: Mapping[str, Any], folder: Path) -> Path:
    """Write the results into a new file of `folder`, named by their time, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}.json"
    path.write_text(json.dumps(data, indent=1) + "\n")
    return path


def processor() -> str:
    """Return what this machine calls its processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
