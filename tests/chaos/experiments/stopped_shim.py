"""TERM to guards, STOP to shims, KILL to slots, `kill -9 -1` in a job: runs end with their slots and end no others."""

from __future__ import annotations

import os
import signal
import time
from typing import Final

import psutil

from tests.chaos.journal import LOG
from tests.chaos.stage import Stage
from tests.processes import Process

NUMBER: Final = 13.5

_ROUNDS: Final = 5
_DEAD_WITHIN_SECONDS: Final = 4.0
"""A guard gives the shim two seconds to end its run by itself."""
_LONG: Final = LOG + 'log start; if [ "$JOBSCHED_ATTEMPT" = 1 ]; then setsid sleep 300; else sleep 1; fi; log end\n'
_KILLER: Final = LOG + "log start; sleep 300 & kill -9 -1; log end\n"
_NOT_CONTAINED: Final = "not protected: A run can end every process"


def run(stage: Stage) -> None:
    stage.job("Long", run=_LONG)
    stage.job("Killer", run=_KILLER, on_lost="fail", retries=0)
    beat = stage.start_beat()
    contained = []
    for isolation in ("namespace", "subreaper"):
        worker = stage.start_worker(concurrency=1, env={"JOBSCHED_ISOLATION": isolation})
        for _ in range(stage.scaled(_ROUNDS)):
            seconds = _end_one(stage, worker)
            stage.limit(f"{isolation}: until the run of a stopped shim was dead", seconds, _DEAD_WITHIN_SECONDS)
        if _NOT_CONTAINED not in worker.log():
            _kill_all(stage, [beat, worker])
            contained.append(isolation)
        worker.stop()
    stage.done(
        f"{2 * stage.scaled(_ROUNDS)} times the guard of a run got SIGTERM, its shim was stopped, its slot was killed. "
        f"A job sent SIGKILL to all processes that it could: {', '.join(contained) or 'left out, nothing contains it'}."
    )


def _end_one(stage: Stage, worker: Process) -> float:
    """Take down what is above a run. Return how long the run lived on."""
    [run_id] = stage.submit(1, job="Long")
    pids = stage.wait_for(lambda: stage.alive(run_id).get((run_id, 1)), timeout=60, what=f"the start of run {run_id}")
    shim = _shim_of(min(pids))
    guard = psutil.Process(shim).ppid()
    [slot] = stage.slots(worker)
    os.kill(guard, signal.SIGTERM)
    os.kill(shim, signal.SIGSTOP)
    os.kill(slot, signal.SIGKILL)
    killed_at = time.monotonic()
    stage.wait_for(lambda: not stage.alive(run_id), timeout=60, what=f"the death of run {run_id}", pause=0.01)
    seconds = time.monotonic() - killed_at
    stage.wait_until_ended(3 * stage.lease + 30)
    return seconds


def _shim_of(pid: int) -> int:
    """Return the shim above a process of a run: the run's first process leads a session, and so does the guard."""
    process = psutil.Process(pid)
    while os.getsid(process.pid) != process.pid:
        process = psutil.Process(process.ppid())
    return process.ppid()


def _kill_all(stage: Stage, bystanders: list[Process]) -> None:
    [run_id] = stage.submit(1, job="Killer")
    stage.wait_until_ended(60)
    [(state, attempts)] = stage.query("SELECT state, attempt FROM jobs_run WHERE id = %s", (run_id,))
    stage.demand(
        (state, attempts) == ("succeeded", 1),
        f"a run that killed all that it could is {state} after {attempts} attempts",
    )
    for process in bystanders:
        stage.demand(process.is_running(), f"{process.name} was ended by a run's kill -9 -1")
