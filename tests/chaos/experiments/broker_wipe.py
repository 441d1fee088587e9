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
    stage.submit(stage.scaled(2000, 100), seconds=0.05)
    stage.wait_for(lambda: stage.count("succeeded") > 20, timeout=60, what="the first runs")
    wipe(stage.rabbitmq)
    # What slots do without any hint: they end their turns. Then everything waits for the broker.
    stage.wait_for(lambda: not stage.count("running"), timeout=60, what="the end of the slots' turns")
    waiting = stage.count("queued")
    stage.demand(waiting > 0, "nothing was queued any more when the broker was wiped")
    # Whoever waits longer after each attempt to come back must not wait for long even so.
    time.sleep(stage.scaled(90, 20))
    stage.rabbitmq.start()
    back = time.monotonic()
    stage.wait_for(lambda: stage.count("queued") < waiting, timeout=120, what="the first claim after the wipe")
    first = time.monotonic() - back
    stage.wait_until_ended(300)
    stage.done(f"RabbitMQ lost everything it knew while {waiting} runs were queued; nobody did anything about it.")
    stage.limit("first claim after the broker was back", first, 15)
    stage.figure("all drained after", time.monotonic() - back, "s")
    dead = [worker.name for worker in workers if not stage.slots(worker)]
    stage.demand(not dead, f"workers stayed dead: {', '.join(dead)}")
