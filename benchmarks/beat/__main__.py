"""Measure beat with more and more schedules, on servers named in the environment; see docs/benchmarks.md."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import psycopg
from rich.console import Console

from benchmarks.beat.contenders import CONTENDERS, Contender, Ours, Place, our_environment
from benchmarks.beat.measure import measure, measure_imports, measure_intake, shown
from benchmarks.beat.plan import Plan
from benchmarks.beat.readings import Missing, Reading, Readings
from benchmarks.beat.report import data, print_tables
from benchmarks.beat.rows import Rows
from benchmarks.contenders.base import python, run
from benchmarks.errors import BenchmarkError
from benchmarks.folders import shared_folder
from benchmarks.report import write_json
from benchmarks.servers import Servers

_RESULTS = Path(__file__).parents[1] / "results" / "beat"
_DATABASE = "jobsched_bench_beat"
_SIZES = (1_000, 10_000, 100_000, 1_000_000)
_BY_KEY = {kind.key: kind for kind in CONTENDERS}

Rounds = dict[type[Contender], list[Readings]]


def _sizes(_context: click.Context, _option: click.Parameter, value: str | None) -> tuple[int, ...]:
    try:
        sizes = tuple(int(word.replace("_", "")) for word in value.split(",")) if value else _SIZES
    except ValueError:
        raise click.BadParameter(f"'{value}' is not a list of numbers such as 1000,100000") from None
    if min(sizes) < 100:
        raise click.BadParameter("fewer than 100 schedules are not measured")
    return sizes


def _chosen(_context: click.Context, _option: click.Parameter, value: str | None) -> tuple[type[Contender], ...]:
    names = [name.strip() for name in value.split(",")] if value else list(_BY_KEY)
    for name in names:
        if name not in _BY_KEY:
            raise click.BadParameter(f"there is no '{name}'; there are {', '.join(_BY_KEY)}")
    return tuple(kind for key, kind in _BY_KEY.items() if key in names)


@click.command()
@click.option("--sizes", callback=_sizes, metavar="N,N", help="Numbers of schedules; 1000 to 1000000 by tens if unset.")
@click.option("--quick", is_flag=True, help="Sizes 1,000 and 100,000, shorter: for a first look.")
@click.option("--only", callback=_chosen, metavar="NAMES", help=f"Of {', '.join(_BY_KEY)}; commas between.")
@click.option("--rounds", type=click.IntRange(1, 99), default=1, show_default=True)
@click.option("--results", type=click.Path(path_type=Path, file_okay=False), default=_RESULTS, help="Where JSON goes.")
@click.pass_context
def main(
    context: click.Context,
    sizes: tuple[int, ...],
    quick: bool,
    only: tuple[type[Contender], ...],
    rounds: int,
    results: Path,
) -> None:
    """Measure what firing costs with a thousand to a million schedules, ours beside stock beat."""
    console = Console(width=None if sys.stdout.isatty() else 150)
    plan = Plan(sizes=sizes, rounds=rounds)
    if quick:
        was_given = context.get_parameter_source("sizes") is click.core.ParameterSource.COMMANDLINE
        plan = Plan(
            sizes=sizes if was_given else (1_000, 100_000), rounds=rounds, idle=8.0, edits=3, steady=5.0, drained=20_000
        )
    signal.signal(signal.SIGTERM, _end)
    try:
        servers = Servers.find(os.environ)
        told = servers.describe()
        if told["fsync"] != "on":
            console.print("[bold]PostgreSQL has fsync off: these figures do not stand for durable writes.")
        with shared_folder("jobsched-bench-") as folder:
            measured: dict[int, Rounds] = {}
            imports: dict[type[Contender], float] = {}
            for size in plan.sizes:
                measured[size] = _measure_size(console, servers, plan, size, only, imports, folder)
    except BenchmarkError as error:
        raise click.ClickException(str(error)) from error
    print_tables(console, measured)
    path = write_json(data(measured, plan=plan, servers=told, imports=imports), results)
    console.print(f"Written to {path}")


def _end(_signal: int, _frame: object) -> None:
    """Leave as after Ctrl-C, so that no beat and no database is left."""
    raise KeyboardInterrupt


def _measure_size(
    console: Console,
    servers: Servers,
    plan: Plan,
    size: int,
    kinds: tuple[type[Contender], ...],
    imports: dict[type[Contender], float],
    folder: Path,
) -> Rounds:
    """Measure all contenders in turns on one set of schedules."""

    def tell(line: str) -> None:
        console.print(f"{size:,}: {line}", highlight=False)

    found: Rounds = {kind: [] for kind in kinds if kind.largest is None or size <= kind.largest}
    tell("the schedules are made")
    with _place(servers, size, folder) as place:
        intake = measure_intake(Ours(place), plan)
        tell(f"intake_per_s {shown(intake)}")
        place.rows.tidy()
        for number in range(1, plan.rounds + 1):
            for kind, readings in found.items():
                contender = kind(place)
                if kind not in imports:
                    imports[kind] = measure_imports(contender)
                readings.append(
                    {
                        "imports_s": imports[kind],
                        **({"intake_per_s": intake} if kind is Ours else {}),
                        **_one(contender, plan, _prefixed(tell, f"{number}/{plan.rounds} {kind.key}")),
                    }
                )
    return found


def _one(contender: Contender, plan: Plan, tell: Callable[[str], None]) -> dict[str, Reading]:
    """One that fails is shown as failed; the others go on."""
    try:
        return measure(contender, plan, tell)
    except BenchmarkError as error:
        tell(str(error))
        return {"start_s": Missing(why="failed")}


def _prefixed(tell: Callable[[str], None], prefix: str) -> Callable[[str], None]:
    return lambda line: tell(f"{prefix}: {line}")


@contextmanager
def _place(servers: Servers, size: int, folder: Path) -> Iterator[Place]:
    """Make a database with `size` schedules, and remove it at the end."""
    url = servers.make_database(_DATABASE)
    try:
        data_folder = folder / str(size)
        data_folder.mkdir()
        environment = our_environment(servers, url, data_folder)
        run([sys.executable, "manage.py", "migrate", "--no-input", "-v0"], environment)
        run(python("benchmarks.beat.prototype"), environment)
        with psycopg.connect(url, autocommit=True) as connection:
            rows = Rows(connection=connection, size=size)
            rows.fill()
            yield Place(servers=servers, database_url=url, data=data_folder, rows=rows)
    finally:
        servers.drop_database(_DATABASE)


if __name__ == "__main__":
    main()
