"""Slots are killed with batches of in-process runs in hand: what had not begun is neither lost nor failed."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from functools import partial
from typing import Final

from tests.chaos.stage import Stage
from tests.chaos.stopped import freezing, stopped
from tests.processes import Process

NUMBER: Final = 15.5

_RUNS: Final = 400
_KILLS: Final = 20
_BATCHES: Final = 5
_BATCH: Final = 40


def run(stage: Stage) -> None:
    stage.start_beat()
    _before_the_start(stage)
    _under_way(stage)


def _before_the_start(stage: Stage) -> None:
    """Kill slots that hold a batch of which none has begun."""
    stage.job("Again", call="chaos.stamp", retries=0)
    victim = stage.start_worker(concurrency=1, env=freezing(claims=4))
    batches = stage.scaled(_BATCHES)
    for number in range(batches):
        stage.submit(_BATCH, job="Again", seconds=0.0, path=str(stage.folder / "again"), word=str(number))
        # A slot that replaces another holds the next batch.
        stage.wait_until_ended(4 * stage.lease + 120, busy=partial(_kill_stopped, stage, victim))
    victim.kill()
    found = dict(stage.query("SELECT verdict, count(*) FROM jobs_attempt GROUP BY 1"))
    stage.done(f"{batches} times a slot was killed that held a batch of in-process runs, none of which had begun.")
    stage.figure("attempts handed back", found.get("handed_back", 0))
    stage.demand(found.get("handed_back", 0) >= 4 * batches, f"no batches were lost: attempts ended as {found}")
    stage.demand(set(found) == {"succeeded", "handed_back"}, f"attempts of batches ended as {found}")


def _kill_stopped(stage: Stage, worker: Process) -> None:
    for pid in stopped(stage, worker):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _under_way(stage: Stage) -> None:
    """Kill slots at any moment: of the runs that must not be repeated, each kill costs the one in hand at most."""
    stage.job("Once", call="chaos.stamp", on_lost="fail")
    worker = stage.start_worker(concurrency=2)
    runs, kills = stage.scaled(_RUNS, 100), stage.scaled(_KILLS, 2)
    first = stage.submit(runs, job="Once", seconds=0.05, path=str(stage.folder / "once"), word="once")[0]
    for _ in range(kills):
        time.sleep(stage.random.uniform(0.1, 0.6))
        if slots := stage.slots(worker):
            with suppress(ProcessLookupError):
                os.kill(stage.random.choice(slots), signal.SIGKILL)
    stage.wait_until_ended(2 * stage.lease + 120)
    found = dict(stage.query("SELECT state, count(*) FROM jobs_run WHERE id >= %s GROUP BY 1", (first,)))
    performed = len((stage.folder / "once").read_text().split())
    stage.done(f"{kills} slots were killed while {runs} in-process runs were performed that must not be repeated.")
    stage.figure("runs failed as lost", found.get("failed", 0))
    stage.demand(found.get("failed", 0) <= kills, f"{kills} kills made {found.get('failed', 0)} runs fail")
    stage.demand(set(found) <= {"succeeded", "failed"}, f"runs ended as {found}")
    stage.demand(performed <= runs, f"{performed - runs} runs that must not be repeated were")
