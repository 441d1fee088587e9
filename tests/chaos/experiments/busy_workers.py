"""Nothing is broken: short runs come in one at a time while every slot but one of two workers is busy for long, and
the busy ones hold hints that they cannot follow."""

from __future__ import annotations

import time
from typing import Final

from benchmarks.figures import percentile
from tests.chaos.stage import Stage

NUMBER: Final = 17

_SLOTS: Final = 4
_SHORT_RUNS: Final = 200


def run(stage: Stage) -> None:
    stage.job()
    stage.start_beat()
    for _ in range(2):
        stage.start_worker(concurrency=_SLOTS)
    total = stage.scaled(_SHORT_RUNS, 15)
    busy = 2 * _SLOTS - 1
    stage.submit(busy, seconds=20 + total * 0.7)
    stage.wait_for(lambda: stage.count("running") == busy, timeout=60, what="the start of the long runs")
    first = stage.submit(1, seconds=0.05)[0]
    for _ in range(total - 1):
        time.sleep(stage.random.uniform(0.2, 0.6))
        stage.submit(1, seconds=0.05)
    stage.wait_for(lambda: stage.count("queued") == 0, timeout=60, what="the start of the short runs")
    waits = [
        float(seconds)
        for (seconds,) in stage.query(
            "SELECT extract(epoch FROM started_at - created_at) FROM jobs_run WHERE id >= %s", (first,)
        )
    ]
    stage.demand(stage.count("running") >= busy, "the long runs ended before the short ones had been measured")
    stage.wait_until_ended(300)
    stage.done(f"{total} short runs, one at a time, beside {busy} slots of {2 * _SLOTS} that were busy all the while.")
    stage.figure("wait for a start, median", percentile(waits, 50) * 1000, "ms")
    stage.limit("wait for a start, p99", percentile(waits, 99), 1.5)
