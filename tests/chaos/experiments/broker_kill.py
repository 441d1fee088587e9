"""RabbitMQ killed every 10 s, thirty times, half of the time frozen first, under fires, runs and plain Celery tasks."""

from __future__ import annotations

import os
import signal
import time
from typing import Final

from tests.chaos.plain_tasks import PlainTasks
from tests.chaos.stage import Stage

NUMBER: Final = 5
_PAUSE_SECONDS: Final = 10.0


def run(stage: Stage) -> None:
    kills = stage.scaled(30, 2)
    stage.job()
    stage.job("Fired", params={"seconds": 0.2})
    stage.start_beat()
    stage.start_beat()
    workers = [stage.start_worker(concurrency=2) for _ in range(2)]
    stage.every(1, job="Fired")
    tasks = PlainTasks(stage, count=100 * kills, during_seconds=_PAUSE_SECONDS * kills)
    stage.submit(20 * kills, seconds=(0.1, 2.0))
    away = 0.0
    for number in range(kills):
        began = time.monotonic()
        if number % 2:
            os.kill(stage.rabbitmq.pid, signal.SIGSTOP)
            time.sleep(1)
        stage.rabbitmq.kill()
        stage.rabbitmq.start()
        away += time.monotonic() - began
        time.sleep(max(0.0, _PAUSE_SECONDS - (time.monotonic() - began)))
        stage.submit(5, seconds=0.1)
    last = time.monotonic()
    tasks.wait_until_done(180)  # before all schedules are switched off, theirs among them
    stage.no_more_fires()
    stage.wait_until_ended(180)
    stage.done(
        f"RabbitMQ was killed {kills} times and away for {away:.0f} s, while a job fired each second, "
        f"{25 * kills} runs were asked for and {tasks.count} plain Celery tasks fell due."
    )
    stage.figure("drained after the last kill", time.monotonic() - last, "s")
    stage.limit("plain tasks lost", len(tasks.missing()), 1, "")
    stage.demand(not tasks.missing(), f"plain Celery tasks were lost: {', '.join(sorted(tasks.missing())[:10])}")
    stage.figure("plain tasks sent twice", tasks.doubled())
    still = [worker.name for worker in workers if not stage.slots(worker)]
    stage.demand(not still, f"workers stayed dead: {', '.join(still)}")
