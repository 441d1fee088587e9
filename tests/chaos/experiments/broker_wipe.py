"""RabbitMQ killed, emptied and, after a minute and a half, started again, with 2,000 runs queued."""

from __future__ import annotations

import time
from typing import Final

from tests.chaos.broker_control import wipe
from tests.chaos.stage import Stage

NUMBER: Final = 6


def run(stage: Stage) -> None:
    stage.job()
    stage.start_beat()
    workers = [stage.start_worker(concurrency=2) for _ in range(2)]
    total = stage.scaled(2000, 100)
    stage.submit(total, seconds=0.05)
    stage.wait_for(lambda: stage.count("succeeded") > 20, timeout=60, what="the first runs")
    left = stage.count("queued")
    wipe(stage.rabbitmq)
    # A slot that is at work goes on while it can tell nobody else.
    stage.wait_until_ended(300)
    stage.figure("runs performed while there was no broker", left)
    # These come when every slot is idle: only a hint can wake it.
    stage.submit(total, seconds=0.05)
    # Whoever waits longer after each attempt to come back must not wait for long even so.
    time.sleep(stage.scaled(90, 20))
    stage.demand(stage.count("queued") == total, "runs were begun without a hint: this experiment proves nothing")
    stage.rabbitmq.start()
    back = time.monotonic()
    stage.wait_for(lambda: stage.count("queued") < total, timeout=120, what="the first claim after the wipe")
    first = time.monotonic() - back
    stage.wait_until_ended(300)
    stage.done(
        f"RabbitMQ lost everything it knew while {left} runs were queued, and {total} came in before it was back; "
        "nobody did anything about it."
    )
    stage.limit("first claim after the broker was back", first, 15)
    stage.figure("all drained after", time.monotonic() - back, "s")
    dead = [worker.name for worker in workers if not stage.slots(worker)]
    stage.demand(not dead, f"workers stayed dead: {', '.join(dead)}")
