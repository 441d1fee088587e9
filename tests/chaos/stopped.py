"""Slots that stopped themselves, see `frozen_starts`."""

from __future__ import annotations

import os
from contextlib import suppress

import psutil

from tests.chaos.stage import Stage
from tests.processes import Process


def freezing(*, claims: int = 1) -> dict[str, str]:
    """Return the environment of a worker whose slots freeze once they have claimed so many runs at once."""
    return {
        "JOBSCHED_IMPORTS": f"{os.environ['JOBSCHED_IMPORTS']},tests.chaos.frozen_starts",
        "CHAOS_FREEZE_FROM": str(claims),
    }


def wait_for_stopped(stage: Stage, worker: Process, count: int) -> list[int]:
    """Wait until so many slots of a worker have stopped. Return them, with the processes below them."""
    stage.wait_for(lambda: len(_slots(stage, worker)) >= count, timeout=60, what="the freeze of the slots")
    return stopped(stage, worker)


def stopped(stage: Stage, worker: Process) -> list[int]:
    """Return the slots of a worker that have stopped, with the processes below them."""
    found: list[int] = []
    for slot in _slots(stage, worker):
        with suppress(psutil.NoSuchProcess):
            found += [*(child.pid for child in psutil.Process(slot).children(recursive=True)), slot]
    return found


def _slots(stage: Stage, worker: Process) -> list[int]:
    found = []
    for slot in stage.slots(worker):
        with suppress(psutil.NoSuchProcess):
            if psutil.Process(slot).status() == psutil.STATUS_STOPPED:
                found.append(slot)
    return found
