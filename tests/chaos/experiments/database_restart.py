"""PostgreSQL stopped immediately, or killed, every 5 to 40 s, thirty times, under fires, requests and runs."""

from __future__ import annotations

import os
import signal
import time
from typing import Final

from django.db import DatabaseError

from tests.chaos.stage import Stage

NUMBER: Final = 9
_PAUSE_SECONDS: Final = (5.0, 40.0)


def run(stage: Stage) -> None:
    times = stage.scaled(30, 2)
    stage.job()
    stage.job("Fired", params={"seconds": 0.2})
    for _ in range(2):
        stage.start_beat()
    workers = [stage.start_worker(concurrency=2) for _ in range(2)]
    stage.every(1, job="Fired")
    refused = asked = 0
    resumed: list[float] = []
    for number in range(times):
        pause = stage.random.uniform(*_PAUSE_SECONDS) if stage.scale >= 1 else 5.0
        until = time.monotonic() + pause
        while time.monotonic() < until:
            asked += 1
            refused += not _ask(stage)
            time.sleep(0.5)
        if number % 2:
            os.kill(stage.postgres.pid, signal.SIGQUIT)
        stage.postgres.kill()
        refused += not _ask(stage)
        stage.postgres.start()
        resumed.append(_seconds_until_work_goes_on(stage))
    stage.no_more_fires()
    last = time.monotonic()
    stage.wait_until_ended(180)
    stage.done(
        f"PostgreSQL was stopped {times} times beneath 2 beats and 2 workers; {asked} times runs were asked for."
    )
    stage.figure("requests that the database could not take", refused)
    stage.figure("work went on after at most", max(resumed), "s")
    stage.figure("drained after the last stop", time.monotonic() - last, "s")
    lost = stage.query("SELECT count(*) FROM jobs_attempt WHERE verdict = 'lost'")[0][0]
    stage.figure("attempts lost", lost)
    dead = [worker.name for worker in workers if not stage.slots(worker)]
    stage.demand(not dead, f"workers stayed dead: {', '.join(dead)}")


def _ask(stage: Stage) -> bool:
    """Ask for a run. What is refused was not acknowledged, and owed to nobody."""
    try:
        stage.submit(1, seconds=(0.1, 3.0))
    except DatabaseError:
        return False
    return True


def _seconds_until_work_goes_on(stage: Stage) -> float:
    began = time.monotonic()
    before = stage.count("succeeded")
    stage.wait_for(lambda: stage.count("succeeded") > before, timeout=120, what="the end of a run after the restart")
    return time.monotonic() - began
