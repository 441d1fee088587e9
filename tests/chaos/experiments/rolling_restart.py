"""Workers are stopped by TERM and replaced, one after the other, under load: nothing fails, no attempt is lost."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from tests.chaos.feed import Feed
from tests.chaos.stage import Stage
from tests.processes import Process

NUMBER: Final = 12

_RESTARTS: Final = 30
_WORKERS, _SLOTS = 3, 3
_GRACE_SECONDS: Final = 2.0
"""What a stopping worker gives its runs: some end in it, the others are handed back."""
_ENV: Final = {"JOBSCHED_STOP_GRACE_SECONDS": f"{_GRACE_SECONDS:g}"}
_STOP_WITHIN_SECONDS: Final = 30.0
"""After this a worker that did not stop would be killed."""


def run(stage: Stage) -> None:
    stage.job(grace="1s", retries=0)
    stage.start_beat()
    restarts = stage.scaled(_RESTARTS, 2)
    with ThreadPoolExecutor(1) as supervisor:
        workers = stage.start_workers(_WORKERS, concurrency=_SLOTS, env=_ENV)
        feed = Feed(stage, 10**9, backlog=_SLOTS, seconds=(0.1, 6.0))
        longest = 0.0
        for number in range(restarts):
            fresh = supervisor.submit(_worker, stage)
            while not fresh.done():
                feed.top_up()
                time.sleep(0.1)
            leaving = workers.pop(0)
            workers.append(fresh.result())
            longest = max(longest, _stop(stage, leaving, feed))
            stage.say(f"{number + 1} of {restarts} restarts, {stage.count('succeeded')} runs succeeded")
        stage.wait_until_ended(60)
    ends = stage.query("SELECT state, count(*) FROM jobs_run GROUP BY 1")
    verdicts = dict(stage.query("SELECT verdict, count(*) FROM jobs_attempt GROUP BY 1"))
    stage.done(f"{restarts} times one of {_WORKERS} workers of {_SLOTS} slots was replaced while runs came and went.")
    stage.demand([state for state, _ in ends] == ["succeeded"], f"runs ended as {dict(ends)}")
    stage.demand(set(verdicts) <= {"succeeded", "handed_back"}, f"attempts ended as {verdicts}")
    stage.figure("runs", sum(count for _, count in ends))
    stage.figure("attempts handed back", verdicts.get("handed_back", 0))
    stage.figure("longest stop of a worker", longest, "s")
    stage.demand(longest < _STOP_WITHIN_SECONDS, f"a worker did not stop within {_STOP_WITHIN_SECONDS:g} s")


def _worker(stage: Stage) -> Process:
    return stage.start_worker(concurrency=_SLOTS, env=_ENV)


def _stop(stage: Stage, worker: Process, feed: Feed) -> float:
    """Stop a worker in order while work goes on. Return how many seconds it took."""
    began = time.monotonic()
    worker.signal(signal.SIGTERM)
    while worker.is_running() and time.monotonic() - began < _STOP_WITHIN_SECONDS:
        feed.top_up()
        time.sleep(0.05)
    seconds = time.monotonic() - began
    worker.kill()
    return seconds
