"""Measure what the heartbeats of many runs at once cost; see docs/benchmarks.md.

The statements are the product's, and so is who sends them: the slots of one worker renew each other's runs. Each run
has a session and a place on its worker's board, as slots have them; the slots of a worker share a process here, and
take their turns in it. Not measured is what slots do besides: they read output and watch over processes whether or not
a heartbeat is due.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import click
import psutil
import psycopg
from rich.console import Console

from benchmarks.errors import BenchmarkError
from benchmarks.report import write_json
from jobsched.local.confine import listen
from jobsched.local.reach import public_temporary_folder
from jobsched.local.servers import Server, postgres
from jobsched.local.start import run_confined

if TYPE_CHECKING:
    from jobs.services.running.isolated import ClaimWatch

_RESULTS = Path(__file__).parent / "results" / "heartbeats"
_SLOTS_A_WORKER = 50
_AIM_PERCENT = 2.0
_NUDGE_SECONDS = 0.45
"""How often slots look up, whether or not a heartbeat is due, and so show each other that they live."""
_WARM_UP_BEATS = 3
"""With the third a session has its statement prepared, as slots have that perform one run after the other."""
_MANIFEST = 'jobs: [{name: noop, run: "true"}]'


@dataclass(frozen=True, kw_only=True)
class Span:
    """What happened while the clock ran. CPU is in seconds."""

    seconds: float
    postgres_cpu: float
    workers_cpu: float
    commits: int
    wal_bytes: int
    updates: int
    hot_updates: int
    slowdown: float
    """How many times the CPU time of its fastest pass a fixed piece of work took, as the median over the span: other
    programs made the machine at least so much slower, and all that was measured with it."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A span with heartbeats, and one of the same length before without."""

    runs: int
    every_seconds: float
    heartbeats: int
    lost: int
    idle: Span
    busy: Span

    @property
    def postgres_percent(self) -> float:
        """PostgreSQL's CPU for heartbeats, in percent of one core."""
        return 100 * (self.busy.postgres_cpu - self.idle.postgres_cpu) / self.busy.seconds

    @property
    def workers_percent(self) -> float:
        return 100 * (self.busy.workers_cpu - self.idle.workers_cpu) / self.busy.seconds


@click.command()
@click.option("--runs", type=click.IntRange(1, 5000), default=500, show_default=True, help="How many at once.")
@click.option("--seconds", type=click.FloatRange(5), default=60.0, show_default=True, help="How long.")
@click.option("--results", type=click.Path(path_type=Path, file_okay=False), default=_RESULTS, help="Where JSON goes.")
def main(runs: int, seconds: float, results: Path) -> None:
    """Let many runs show signs of life at once, each at the default pace, and count what that costs."""
    sys.exit(run_confined(lambda: _benchmark(runs, seconds, results)))


def _benchmark(runs: int, seconds: float, results: Path) -> int:
    console = Console(width=None if sys.stdout.isatty() else 140)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    listen()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="jobsched-heartbeats-", dir=public_temporary_folder()) as folder,
            # As many connections as runs at once need.
            postgres(Path(folder), max_connections=runs + 20) as server,
        ):
            _set_up(server.url, Path(folder))
            found = _measure(server, runs=runs, seconds=seconds)
            told = _versions(server.url)
    except BenchmarkError as error:
        click.echo(f"Error: {error}", err=True)
        return 1
    _print(console, found)
    path = write_json(
        {"servers": told, **asdict(found), "postgres_percent": found.postgres_percent,
         "workers_percent": found.workers_percent},
        results,
    )  # fmt: skip
    console.print(f"Written to {path}")
    return 0


def _set_up(url: str, folder: Path) -> None:
    os.environ.update(
        DJANGO_SETTINGS_MODULE="config.settings",
        JOBSCHED_DATABASE_URL=url,
        JOBSCHED_BROKER_URL="amqp://none@127.0.0.1:1//",
        JOBSCHED_SECRET_KEY=secrets.token_urlsafe(48),
        JOBSCHED_DATA_DIR=str(folder / "data"),
        JOBSCHED_LOG_LEVEL="ERROR",
    )
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    from jobs.services import definitions

    call_command("migrate", verbosity=0, interactive=False)
    definitions.apply(_MANIFEST, filename="noop.yaml", actor="benchmark")
    connection.close()


def _measure(server: Server, *, runs: int, seconds: float) -> Found:
    from django.db import connection

    from jobs.conf import conf
    from jobs.models import Job
    from jobs.services.running.isolated import FRESH
    from jobs.store import births
    from jobs.store.births import Birth
    from jobs.store.session import django_connection

    job = Job.objects.get()
    births.create(django_connection, [Birth(job_id=job.pk, trigger="request")] * runs)
    django_connection("VACUUM ANALYZE", {})
    connection.close()
    gc.freeze()
    context = multiprocessing.get_context("fork")
    shares = [min(_SLOTS_A_WORKER, runs - first) for first in range(0, runs, _SLOTS_A_WORKER)]
    ready, go, stop = context.Barrier(len(shares) + 1), context.Event(), context.Event()
    counted: Any = context.Queue()
    every = conf().heartbeat.total_seconds()
    workers = [
        context.Process(target=_hold, args=(share, every, ready, go, stop, counted), daemon=True) for share in shares
    ]
    for worker in workers:
        worker.start()
    try:
        ready.wait(timeout=120)
        pids = [worker.pid or 0 for worker in workers]
        idle = _span(server, pids, seconds)
        go.set()
        time.sleep(_WARM_UP_BEATS * every)
        busy = _span(server, pids, seconds)
        stop.set()
        lost = sum(counted.get(timeout=60) for _ in workers)
    finally:
        for worker in workers:
            worker.kill()
            worker.join()
    if lost:
        raise BenchmarkError(f"{lost} heartbeats came too late: this machine is too busy to measure.")
    due = runs * seconds / every
    if not 0.9 * due <= busy.updates <= 1.1 * due / FRESH + runs:
        raise BenchmarkError(f"{busy.updates} renewals in {seconds:g} s of {runs} runs are not one each {every:g} s.")
    return Found(runs=runs, every_seconds=every, heartbeats=round(due), lost=lost, idle=idle, busy=busy)


def _hold(runs: int, every: float, ready: Barrier, go: Event, stop: Event, counted: Any) -> None:
    """In a process of its own: claim runs as the slots of one worker, and let each show signs of life in its turn."""
    parent = os.getppid()
    watches = _watches(runs)
    ready.wait(timeout=120)
    go.wait()
    lost = 0
    turn = nudged_at = time.monotonic()
    while not stop.is_set():
        for watch in watches:
            turn += every / runs
            time.sleep(max(0.0, turn - time.monotonic()))
            if turn - nudged_at > _NUDGE_SECONDS:
                nudged_at = turn
                for slot in watches:
                    slot.nudged()
            lost += watch.heartbeat().lost
            if stop.is_set():
                break
            if os.getppid() != parent:  # killed, and nobody is left to end this one
                return
    counted.put(lost)


def _watches(runs: int) -> list[ClaimWatch]:
    from unittest.mock import patch

    from jobs.services.running import board, isolated
    from jobs.services.running.slot import SlotProcess
    from jobs.store import claims
    from jobs.store.claims import ClaimRequest

    made = []
    isolated.board = board.Board()  # its own, as each worker has it
    for number in range(runs):
        slot = SlotProcess(hostname=f"bench-{os.getpid()}-{number}")
        request = ClaimRequest(token=uuid4(), queue="default", limit=1, worker=slot.name, lease=timedelta(hours=1))
        [claim] = claims.settle_and_claim(slot.session, [], request, actor="bench").claims
        with patch.object(board, "current_process", lambda number=number: SimpleNamespace(index=number)):
            made.append(isolated.ClaimWatch(slot, claim, repeatable=True))
    return made


def _span(server: Server, workers: list[int], seconds: float) -> Span:
    before, began = _readings(server, workers), time.monotonic()
    passes = []
    while time.monotonic() < began + seconds:
        time.sleep(min(0.2, max(0.0, began + seconds - time.monotonic())))
        passes.append(_fixed_work())
    after, ended = _readings(server, workers), time.monotonic()
    changed: dict[str, Any] = {name: after[name] - before[name] for name in before}
    return Span(seconds=ended - began, slowdown=median(passes) / min(passes), **changed)


def _fixed_work() -> float:
    """Return the CPU seconds of some arithmetic."""
    began = time.thread_time()
    sum(number * number for number in range(20_000))
    return time.thread_time() - began


def _readings(server: Server, workers: list[int]) -> Mapping[str, float]:
    postmaster = psutil.Process(server.pid)
    postgres = [postmaster, *postmaster.children(recursive=True)]
    with psycopg.connect(server.url, autocommit=True) as link:
        link.execute("SELECT pg_stat_force_next_flush()")
        row = link.execute(
            """
            SELECT (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()),
                (SELECT wal_bytes::bigint FROM pg_stat_wal), n_tup_upd, n_tup_hot_upd
            FROM pg_stat_user_tables WHERE relname = 'jobs_run'
            """
        ).fetchone()
    if row is None:
        raise BenchmarkError("PostgreSQL keeps no statistics of jobs_run.")
    ended = postmaster.cpu_times()
    return {
        "postgres_cpu": sum(_cpu(process.pid) for process in postgres) + ended.children_user + ended.children_system,
        "workers_cpu": sum(map(_cpu, workers)),
        "commits": row[0],
        "wal_bytes": row[1],
        "updates": row[2],
        "hot_updates": row[3],
    }


def _cpu(pid: int) -> float:
    """Return CPU seconds by the scheduler's own count: what others read is cut to hundredths of a second, for each
    of five hundred processes that need a few thousandths."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def _versions(url: str) -> dict[str, str]:
    with psycopg.connect(url) as link:
        names = ("server_version", "fsync", "synchronous_commit", "full_page_writes")
        return {name: str(link.execute(f"SHOW {name}").fetchone()[0]) for name in names}  # type: ignore[index]


def _print(console: Console, found: Found) -> None:
    busy = found.busy
    console.print(
        f"{found.runs} runs, one heartbeat each {found.every_seconds:g} s: {found.heartbeats} in {busy.seconds:.0f} s, "
        f"{busy.updates} renewals\n"
        f"  PostgreSQL  {found.postgres_percent:5.2f}% of one core for heartbeats "
        f"({100 * busy.postgres_cpu / busy.seconds:.2f}% in all, "
        f"{100 * found.idle.postgres_cpu / found.idle.seconds:.2f}% without)\n"
        f"  workers     {found.workers_percent:5.2f}% of one core\n"
        f"  together    {found.postgres_percent + found.workers_percent:5.2f}%, aim: under {_AIM_PERCENT:g}%\n"
        f"  {1e3 * (busy.postgres_cpu - found.idle.postgres_cpu) / found.heartbeats:.3f} ms of PostgreSQL's CPU each, "
        f"{busy.wal_bytes / found.heartbeats:.0f} bytes of log each\n"
        f"  the machine was slowed down {busy.slowdown:.1f} times by other programs, as far as can be seen\n"
        f"  HOT         {100 * busy.hot_updates / max(1, busy.updates):.1f}% of {busy.updates} updates",
        highlight=False,
    )


if __name__ == "__main__":
    main()
