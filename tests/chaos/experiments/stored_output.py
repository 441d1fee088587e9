"""Workers die, and the output store fills up, while runs print much: no output of a run that has ended is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final

from jobsched.local.account import PROJECT
from jobsched.shim.users import become, service_user
from tests.chaos.journal import LOG
from tests.chaos.small_disk import SmallDisk, small_disk
from tests.chaos.stage import Stage
from tests.processes import Process

NUMBER: Final = 14.2
_ROUNDS: Final = 12
_RUNS_A_ROUND: Final = 6
_LINES: Final = 400_000
"""2.7 MB: several chunks for each run."""
_SLOTS: Final = 2
_PRINTS: Final = f"""{LOG}log start
seq 1 {_LINES // 2}
sleep $JOBSCHED_PARAM_SECONDS
seq {_LINES // 2 + 1} {_LINES}
log end
"""


def run(stage: Stage) -> None:
    stage.job("Prints", run=_PRINTS)
    stage.job("Removed", run=f"seq 1 {_LINES}")
    store = stage.folder / "data" / "output"
    with ExitStack() as mounted:
        disk = _disk(mounted, store)
        stage.start_beat()
        workers = stage.start_workers(2, concurrency=_SLOTS)
        removed = stage.submit(_RUNS_A_ROUND, job="Removed")
        stage.wait_until_ended(120)
        stage.leave_out_runs_so_far()
        runs: list[int] = []
        rounds = stage.scaled(_ROUNDS, 2)
        for _ in range(rounds):
            runs += stage.submit(_RUNS_A_ROUND, seconds=(2.0, 5.0), job="Prints")
            stage.wait_for(lambda: _printing(stage), timeout=120, what="a run that has printed half of its lines")
            if disk is not None:
                disk.fill()
            _kill(workers.pop(0))
            workers += stage.start_workers(1, concurrency=_SLOTS)
            if disk is not None:
                disk.make_room()
        stage.wait_until_ended(600)
        _check_kept(stage, runs, store)
        _clean_up(stage, removed, store)
    full = "the output store was full meanwhile" if disk is not None else "no disk could be filled without root"
    stage.done(
        f"{len(runs)} runs printed {_LINES} lines each; {rounds} times a worker was killed with its slots, and {full}."
    )


def _disk(mounted: ExitStack, store: Path) -> SmallDisk | None:
    if os.geteuid() != 0:
        return None
    # Room for all output of the full suite.
    return mounted.enter_context(small_disk(store, megabytes=600))


def _printing(stage: Stage) -> int:
    [(count,)] = stage.query(
        "SELECT count(DISTINCT r.id) FROM jobs_run r JOIN jobs_outputchunk c ON c.run_id = r.id "
        "AND c.attempt = r.attempt WHERE r.state = 'running'"
    )
    return int(count)


def _kill(worker: Process) -> None:
    for pid in (worker.pid, *Stage.slots(worker)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _check_kept(stage: Stage, runs: list[int], store: Path) -> None:
    whole = "".join(f"{number}\n" for number in range(1, _LINES + 1)).encode()
    attempts = stage.query(
        "SELECT run_id, number, verdict, output_total, output FROM jobs_attempt WHERE run_id = ANY(%s)", (runs,)
    )
    for run_id, number, verdict, total, excerpt in attempts:
        rows = stage.query(
            "SELECT start, size, data, key FROM jobs_outputchunk WHERE run_id = %s AND attempt = %s ORDER BY start",
            (run_id, number),
        )
        kept = _joined(stage, rows, store) if rows else excerpt.encode()
        name = f"attempt {number} of run {run_id} ({verdict})"
        stage.demand(len(kept) == total, f"{name} printed {total} bytes, and {len(kept)} can be read")
        stage.demand(whole.startswith(kept), f"{name}: what is kept is not what was printed")
        if verdict == "succeeded":
            stage.demand(kept == whole, f"{name} printed {len(whole)} bytes, and {len(kept)} can be read")
    lost = sum(verdict == "lost" for _, _, verdict, _, _ in attempts)
    stage.figure("lost attempts whose output can be read", lost)


def _joined(stage: Stage, rows: list[tuple[Any, ...]], store: Path) -> bytes:
    kept = bytearray()
    for start, size, data, key in rows:
        stage.demand(start == len(kept), f"a part of output begins at {start}, and the one before ends at {len(kept)}")
        part = bytes(data) if key is None else (store / key).read_bytes()
        stage.demand(len(part) == size, f"a part of output has {len(part)} bytes instead of {size}")
        kept += part
    return bytes(kept)


def _clean_up(stage: Stage, removed: list[int], store: Path) -> None:
    """Remove runs from the database, then the output that belongs to none of those that are left."""
    for statement in (
        "DELETE FROM jobs_attempt WHERE run_id = ANY(%s) RETURNING 1",
        "DELETE FROM jobs_transition WHERE run_id = ANY(%s) RETURNING 1",
        "DELETE FROM jobs_run WHERE id = ANY(%s) RETURNING 1",
    ):
        stage.query(statement, (removed,))
    _call("clean_output", "--older-than-hours", "0", stage=stage)
    named = {key for (key,) in stage.query("SELECT key FROM jobs_outputchunk WHERE key IS NOT NULL")}
    files = {str(path.relative_to(store)) for path in store.rglob("*.log")}
    stage.demand(named == files, f"{len(files - named)} chunks were left behind, {len(named - files)} are missing")
    left = stage.query("SELECT count(*) FROM jobs_outputchunk WHERE run_id = ANY(%s) OR key IS NULL", (removed,))[0][0]
    stage.demand(not left, f"{left} parts of removed attempts, or parts that were never stored, are in the database")
    stage.figure("chunks that were cleaned up or stored late leave behind", left)


def _call(*arguments: str, stage: Stage) -> None:
    user = service_user(os.environ)
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "JOBSCHED_DATABASE_URL": stage.database_url,
        "JOBSCHED_BROKER_URL": stage.broker_url,
        "JOBSCHED_DATA_DIR": str(stage.folder / "data"),
    }
    done = subprocess.run(
        [sys.executable, "-m", "django", *arguments],
        cwd=PROJECT,
        env=env,
        preexec_fn=None if user is None else lambda: become(user),
        capture_output=True,
        text=True,
    )
    stage.demand(done.returncode == 0, f"{' '.join(arguments)} failed: {done.stderr[-500:]}")
