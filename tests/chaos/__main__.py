"""`python -m tests.chaos`: break things and see whether the promises hold. See docs/chaos.md."""

from __future__ import annotations

import signal

# Before the slow imports, and before anything has been started: Ctrl-C ends us without a stack trace.
signal.signal(signal.SIGINT, signal.SIG_DFL)

# ruff: noqa: E402 - for that reason
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click
import psycopg
from kombu import Connection

from jobsched.domain.errors import JobschedError
from jobsched.local.confine import end_with, listen
from jobsched.local.reach import public_temporary_folder
from jobsched.local.start import run_confined
from jobsched.local.state import DataFolder
from tests.chaos.catalogue import Experiment, experiments
from tests.chaos.ground import Ground, ground
from tests.chaos.report import Machine, write
from tests.chaos.runner import carry_out

MUTANTS = ("no-fence", "no-compare-and-set", "no-confirm", "no-lease-check")
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _chosen(_context: click.Context, _option: click.Parameter, value: str | None) -> list[Experiment]:
    known = experiments()
    if value is None:
        return known
    words = [word.strip() for word in value.split(",")]
    for word in words:
        if word not in {one.name for one in known}:
            raise click.BadParameter(f"there is no '{word}'; there are {', '.join(one.name for one in known)}")
    return [one for one in known if one.name in words]


@click.command()
@click.option("--only", "chosen", callback=_chosen, metavar="NAMES", help="These experiments; commas between.")
@click.option("--seed", type=int, help="Repeat what an earlier time did; default: a new one, which is printed.")
@click.option(
    "--scale", type=click.FloatRange(0.001, 10), default=1.0, show_default=True, help="How much of everything."
)
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), help="Put what was found into this file.")
@click.option("--mutant", type=click.Choice(MUTANTS), help="Switch a guarantee off: the suite must fail.")
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False), help="Keep logs and journals in this folder.")
@click.option("--list", "only_list", is_flag=True, help="List the experiments.")
@click.option("--with-parent", type=int, metavar="PID", help="Stop when process PID, which started this one, ends.")
def main(
    chosen: list[Experiment],
    seed: int | None,
    scale: float,
    report: Path | None,
    mutant: str | None,
    keep: Path | None,
    only_list: bool,
    with_parent: int | None,
) -> None:
    """Break servers, beats and workers, and hold what is left against the promises."""
    if with_parent is not None:
        end_with(with_parent)
    if keep is not None:
        DataFolder(keep).create()
    if only_list:
        for one in chosen:
            click.echo(f"{one.number:>4g}  {one.name:<24} {one.about}")
        return
    seed = random.randrange(2**32) if seed is None else seed
    sys.exit(run_confined(lambda: _guarded(chosen, seed, scale, report, mutant, keep), data=keep))


def _guarded(
    chosen: Sequence[Experiment], seed: int, scale: float, report: Path | None, mutant: str | None, keep: Path | None
) -> int:
    for number in _ENDING:
        signal.signal(number, _leave_once)
    listen()
    if os.geteuid() == 0:
        os.umask(0)  # processes and runs have other users, who meet in the files of the experiments
    try:
        where = public_temporary_folder()
        with tempfile.TemporaryDirectory(prefix="jobsched-chaos-", dir=where, ignore_cleanup_errors=True) as temporary:
            return _run(chosen, seed, scale, report, mutant, keep or Path(temporary))
    except JobschedError as error:
        click.echo(f"Error: {error}", err=True)
        return 1


def _leave_once(number: int, _frame: FrameType | None) -> NoReturn:
    for again in _ENDING:
        signal.signal(again, signal.SIG_IGN)
    sys.exit(128 + number)


def _run(
    chosen: Sequence[Experiment], seed: int, scale: float, report: Path | None, mutant: str | None, folder: Path
) -> int:
    began = time.monotonic()
    _say(f"seed {seed}, scale {scale:g}{f', mutant {mutant}' if mutant else ''}; starting PostgreSQL and RabbitMQ")
    with ground(folder, scale=scale) as servers:
        servers.prepare(mutant)
        machine = _machine(servers)
        results = carry_out(chosen, servers, seed=seed, scale=scale, say=_say)
    if report is not None:
        write(report, results, machine, order=[one.name for one in experiments()])
        _say(f"Written to {report}")
    failed = [result.name for result in results if not result.passed]
    _say(
        f"{len(results) - len(failed)} of {len(results)} experiments passed in {time.monotonic() - began:.0f} s, "
        f"seed {seed}" + (f"; failed: {', '.join(failed)}" if failed else "")
    )
    return 1 if failed else 0


def _machine(servers: Ground) -> Machine:
    with psycopg.connect(servers.postgres.url) as connection:
        postgres = connection.info.parameter_status("server_version") or "?"
    with Connection(servers.rabbitmq.url) as broker:
        broker.connect()
        rabbitmq = str(broker.connection.server_properties.get("version", "?"))
    return Machine.this(postgres.split()[0], rabbitmq)


def _say(line: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')} {line}")


if __name__ == "__main__":
    main()
