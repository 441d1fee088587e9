"""Measure all contenders in turns, on servers named in the environment; see docs/benchmarks.md."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
from rich.console import Console

from benchmarks.contenders import CONTENDERS, Contender, Place
from benchmarks.errors import BenchmarkError
from benchmarks.figures import Repetition
from benchmarks.floor import Floor, measure_forks
from benchmarks.folders import shared_folder
from benchmarks.measure import Plan, measure
from benchmarks.report import print_floor, print_table, to_json, write_json
from benchmarks.servers import Servers

_RESULTS = Path(__file__).parent / "results"
_BY_KEY = {kind.key: kind for kind in CONTENDERS}


def _chosen(_context: click.Context, _option: click.Parameter, value: str | None) -> tuple[type[Contender], ...]:
    """Turn `ours,celery` into contenders: a word stands for every key it is, or begins up to a dash."""
    if value is None:
        return CONTENDERS
    words = [word.strip() for word in value.split(",")]
    for word in words:
        if not any(key == word or key.startswith(f"{word}-") for key in _BY_KEY):
            raise click.BadParameter(f"there is no '{word}'; there are {', '.join(_BY_KEY)}")
    return tuple(
        kind for key, kind in _BY_KEY.items() if any(key == word or key.startswith(f"{word}-") for word in words)
    )


@click.command()
@click.option("--quick", is_flag=True, help="A fifth of the jobs, a third of the latencies: for a first look.")
@click.option("--only", callback=_chosen, metavar="NAMES", help=f"Of {', '.join(_BY_KEY)}; commas between.")
@click.option("--repetitions", type=click.IntRange(1, 99), default=3, show_default=True)
@click.option("--results", type=click.Path(path_type=Path, file_okay=False), default=_RESULTS, help="Where JSON goes.")
def main(quick: bool, only: tuple[type[Contender], ...], repetitions: int, results: Path) -> None:
    """Run a no-op job through our whole path and through others', on the same servers, in turns."""
    console = Console(width=None if sys.stdout.isatty() else 140)
    plan = Plan(scale=0.2 if quick else 1.0, latency_jobs=30 if quick else 100, latency_rate=20.0)
    try:
        servers = Servers.find(os.environ)
        told = servers.describe()
        if told["fsync"] != "on":
            console.print("[bold]PostgreSQL has fsync off: these figures do not stand for durable writes.")
        measured, floor = _measure(console, servers, plan, only, repetitions)
    except BenchmarkError as error:
        raise click.ClickException(str(error)) from error
    print_table(
        console,
        measured,
        rabbitmq_counted=servers.rabbitmq_pid is not None,
        postgres_counted=servers.postgres_pid is not None,
    )
    print_floor(console, floor, measured)
    path = write_json(to_json(measured, floor=floor, plan=plan, servers=told), results)
    console.print(f"Written to {path}")


def _measure(
    console: Console, servers: Servers, plan: Plan, kinds: tuple[type[Contender], ...], repetitions: int
) -> tuple[dict[type[Contender], list[Repetition]], Floor]:
    """Measure every contender once, then again: what disturbs the machine for a while disturbs all."""
    measured: dict[type[Contender], list[Repetition]] = {kind: [] for kind in kinds}
    forks: list[float] = []
    with shared_folder("jobsched-bench-") as folder:
        contenders: list[Contender] = []
        try:
            for kind in kinds:
                contenders.append(_prepared(kind, servers, folder))
            for round_number in range(1, repetitions + 1):
                for contender in contenders:
                    found = measure(contender, plan)
                    measured[type(contender)].append(found)
                    console.print(
                        f"{round_number}/{repetitions} {contender.title}: {found.rate:,.0f} runs/s",
                        highlight=False,
                    )
                forks.append(measure_forks())
                console.print(f"{round_number}/{repetitions} bare fork: {forks[-1]:,.0f} a second", highlight=False)
        finally:
            for contender in contenders:
                contender.clean()
    return measured, Floor(rates=forks)


def _prepared(kind: type[Contender], servers: Servers, data: Path) -> Contender:
    contender = kind(Place(servers=servers, notes=data / f"{kind.key}.notes", data=data))
    contender.prepare()
    return contender


if __name__ == "__main__":
    main()
