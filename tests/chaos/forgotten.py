"""PostgreSQL forgets renewals of leases: what becomes of attempts whose worker lives, and whose worker is frozen."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

import psutil
import psycopg

from tests.chaos.journal import LOG
from tests.chaos.stage import Stage
from tests.processes import Process

_SLOTS: Final = 2
HOLDS: Final = LOG + (
    'log start; while [ "$JOBSCHED_ATTEMPT" = 1 ] && [ -e "$JOBSCHED_PARAM_HOLD" ]; do sleep 0.2; done; log end\n'
)
"""A first attempt lasts until the file is gone; what comes after it ends at once."""


class Crash(Protocol):
    """A way to lose the last commits of a database that nobody has waited for."""

    def forget(self) -> None:
        """Keep renewals from the disk, or from the replica, from now on."""

    def crash(self) -> None:
        """Take the database away, and bring it back without what was kept from it."""


@dataclass(frozen=True, kw_only=True)
class Holders:
    """Two workers with running attempts, and one that is free to take what the others lose."""

    steady: Process
    steady_runs: list[int]
    victim: Process
    victim_runs: list[int]


def see_crash(stage: Stage, crash: Crash, *, name: str) -> None:
    """Let the database crash once while a worker holds runs and another is frozen. Its beat is started anew."""
    hold = stage.folder / f"hold-{name}"
    hold.touch()
    stage.job(f"Holds {name}", run=HOLDS, params={"hold": str(hold)})
    beat = stage.start_beat()
    holders = _holders(stage, f"Holds {name}")
    runs = holders.steady_runs + holders.victim_runs
    crash.forget()
    _wait_until_recorded_leases_ended(stage)
    known = _leases(stage, runs)

    paused = stage.freeze(holders.victim)
    beat.kill()
    began = time.monotonic()
    crash.crash()
    recorded = _leases(stage, runs)
    outage = time.monotonic() - began
    stage.figure(f"PostgreSQL was away ({name})", outage, "s")
    forgotten = [known[run] - ends for run, ends in recorded.items() if ends is not None]
    stage.figure(f"renewals forgotten ({name})", max(forgotten, default=0.0), "s")
    stage.start_beat()
    stage.wait_for(
        lambda: {line.run_id for line in stage.journal() if line.attempt > 1} >= set(holders.victim_runs),
        timeout=4 * stage.lease + 60,
        what="the second attempts of the frozen worker's runs",
    )
    stage.thaw(paused)
    hold.unlink()
    stage.wait_until_ended(120)
    _judge(stage, holders, outage, name)


def _holders(stage: Stage, job: str) -> Holders:
    """Start one worker after the other, so that it is known which has which runs."""
    steady = stage.start_worker(concurrency=_SLOTS)
    steady_runs = _started(stage, job)
    victim = stage.start_worker(concurrency=_SLOTS)
    victim_runs = _started(stage, job)
    stage.start_worker(concurrency=_SLOTS)
    return Holders(steady=steady, steady_runs=steady_runs, victim=victim, victim_runs=victim_runs)


def _started(stage: Stage, job: str) -> list[int]:
    runs = stage.submit(_SLOTS, job=job)
    stage.wait_for(
        lambda: {line.run_id for line in stage.journal()} >= set(runs), timeout=60, what=f"the start of {job}"
    )
    return runs


def _leases(stage: Stage, runs: list[int]) -> dict[int, Any]:
    """Return when leases end, in seconds since the epoch; None for an attempt that has ended."""
    return dict(
        stage.query("SELECT id, extract(epoch FROM lease_until)::float8 FROM jobs_run WHERE id = ANY(%s)", (runs,))
    )


def _wait_until_recorded_leases_ended(stage: Stage) -> None:
    """Whatever was on the disk when renewals began to be kept from it has ended a lease later."""
    until = time.monotonic() + stage.lease
    stage.wait_for(lambda: time.monotonic() > until, timeout=stage.lease + 5, what="the end of recorded leases")


def _judge(stage: Stage, holders: Holders, outage: float, name: str) -> None:
    longest = longest_outage(stage)
    lost = {
        run
        for (run,) in stage.query(
            "SELECT run_id FROM jobs_attempt WHERE verdict = 'lost' AND run_id = ANY(%s)", (holders.steady_runs,)
        )
    }
    stage.figure(f"attempts of the living worker lost ({name})", len(lost))
    # Leases of a short mix are so short that a shared machine costs healthy workers theirs.
    if stage.is_full and outage < longest:
        stage.demand(not lost, f"an outage of {outage:.1f} s, less than {longest:g} s, cost runs {sorted(lost)}")


def longest_outage(stage: Stage) -> float:
    """Return how many seconds PostgreSQL may be away without the loss of an attempt; see docs/guarantees.md."""
    margin, reconnect = max(1.0, stage.lease / 10), 2.0
    return stage.lease - margin - stage.heartbeat - reconnect


def superuser(stage: Stage, statement: str) -> list[tuple[Any, ...]]:
    """Ask the server that experiments share, as its administrator."""
    with psycopg.connect(stage.postgres.superuser_url, autocommit=True) as connection:
        cursor = connection.execute(statement)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description else []


def kill_server(stage: Stage) -> None:
    """Kill PostgreSQL with all its processes: a frozen one would not end by itself, and no server could start again."""
    children = psutil.Process(stage.postgres.pid).children()
    stage.postgres.kill()
    for child in children:  # each is in a session of its own
        with suppress(psutil.NoSuchProcess):
            child.kill()


def stop_processes(stage: Stage, kind: str) -> None:
    """Freeze processes of the server: `walwriter`, `walsender`."""
    pids = superuser(stage, f"SELECT pid FROM pg_stat_activity WHERE backend_type = '{kind}'")
    stage.demand(bool(pids), f"PostgreSQL has no {kind}")
    for (pid,) in pids:
        os.kill(pid, signal.SIGSTOP)
