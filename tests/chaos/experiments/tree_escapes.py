"""Runs with setsid, double forks, 500 children, a hidden environment and TERM ignored are ended in every way."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Final

from jobs.services import control
from tests.chaos.journal import LOG
from tests.chaos.stage import Stage
from tests.processes import Process

NUMBER: Final = 13

_CHILDREN: Final = 500
_DEAD_WITHIN_SECONDS: Final = 1.0
_ESCAPES: Final = (
    LOG
    + """\
log start
trap '' TERM
setsid sh -c 'trap "" TERM; sleep 600' &
(setsid sh -c '(setsid sleep 600 &) &' &)
env -i sh -c 'trap "" TERM; while :; do sleep 600; done' "chaos-$JOBSCHED_RUN_ID-$JOBSCHED_ATTEMPT" &
i=0
while [ $i -lt "$JOBSCHED_PARAM_CHILDREN" ]; do sleep 600 & i=$((i + 1)); done
sleep 600
log end
"""
)
_OTHERS: Final = 4
"""The shell itself and what it started beside the children, as far as they can be recognised."""


def run(stage: Stage) -> None:
    children = stage.scaled(_CHILDREN, 50)
    stage.job("Escapes", run=_ESCAPES, params={"children": children}, grace="500ms", on_lost="fail", retries=0)
    stage.job(
        "Overruns", run=_ESCAPES, params={"children": children}, timeout="10s", grace="500ms", on_lost="fail", retries=0
    )
    stage.start_beat()
    for isolation in ("namespace", "subreaper"):
        worker = stage.start_worker(concurrency=1, env={"JOBSCHED_ISOLATION": isolation})
        for name, end in _WAYS.items():
            seconds = _end_one(stage, worker, end, children, job="Overruns" if end is _overrun else "Escapes")
            stage.figure(f"{isolation}: until all were dead after {name}", seconds, "s")
            stage.demand(
                seconds < _DEAD_WITHIN_SECONDS,
                f"I6: with {isolation}, processes were alive {seconds:.1f} s after {name}",
            )
    stage.wait_until_ended(60 + stage.lease)
    stage.done(
        f"A run with {children} children, a session of its own, a double fork, a process without its environment and "
        f"TERM ignored was ended by {', '.join(_WAYS)}, in a PID namespace and under a subreaper."
    )


def _end_one(stage: Stage, worker: Process, end: _End, children: int, *, job: str) -> float:
    [run_id] = stage.submit(1, job=job)
    stage.wait_for(
        lambda: sum(map(len, stage.alive(run_id).values())) >= children + _OTHERS,
        timeout=60,
        what=f"the {children} children of run {run_id}",
    )
    ended_at = end(stage, worker, run_id)
    stage.wait_for(lambda: not stage.alive(run_id), timeout=60, what=f"the death of run {run_id}", pause=0.01)
    return max(0.0, time.time() - ended_at)


_End = Callable[[Stage, Process, int], float]
"""Ends a run, and returns when that was or, where it ends in order, when its end was recorded."""


def _cancel(stage: Stage, _worker: Process, run_id: int) -> float:
    control.cancel([run_id], actor="chaos")
    return _recorded(stage, run_id)


def _overrun(stage: Stage, _worker: Process, run_id: int) -> float:
    return _recorded(stage, run_id)


def _recorded(stage: Stage, run_id: int) -> float:
    stage.wait_for(
        lambda: stage.query("SELECT 1 FROM jobs_run WHERE id = %s AND finished_at IS NOT NULL", (run_id,)),
        timeout=60,
        what=f"the end of run {run_id}",
        pause=0.01,
    )
    return time.time()


def _kill_main(_stage: Stage, worker: Process, _run_id: int) -> float:
    worker.kill_alone()
    return time.time()


def _kill_slot(stage: Stage, worker: Process, _run_id: int) -> float:
    for slot in stage.slots(worker):
        os.kill(slot, signal.SIGKILL)
    return time.time()


_WAYS: Final[dict[str, _End]] = {
    "a cancel": _cancel,
    "its time limit": _overrun,
    "kill -9 of the slot": _kill_slot,
    "kill -9 of the worker": _kill_main,  # the last, as it ends the worker
}
