"""The queue that carries the hints deleted beneath workers that consume from it, again and again."""

from __future__ import annotations

import time
from typing import Final

from kombu import Connection

from tests.chaos.stage import Stage

NUMBER: Final = 7


def run(stage: Stage) -> None:
    stage.job()
    stage.start_beat()
    workers = [stage.start_worker(concurrency=2) for _ in range(2)]
    longest = 0.0
    times = stage.scaled(10, 2)
    for _ in range(times):
        stage.submit(stage.scaled(40, 10), seconds=(0.05, 0.5))
        with Connection(stage.broker_url) as connection:
            connection.default_channel.queue_delete("default")
        stage.wait_until_ended(120)
        # Nobody is at work now: this run needs a hint, and so the queue.
        asked = time.monotonic()
        stage.submit(1, seconds=0.0)
        stage.wait_until_ended(120)
        longest = max(longest, time.monotonic() - asked)
    stage.done(f"The queue `default` was deleted {times} times with runs in it; nobody did anything about it.")
    stage.limit("slowest start of a run afterwards", longest, 15)
    dead = [worker.name for worker in workers if not stage.slots(worker)]
    stage.demand(not dead, f"workers stayed dead: {', '.join(dead)}")
