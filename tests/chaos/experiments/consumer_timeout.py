"""RabbitMQ's `consumer_timeout` of one minute with jobs of three: hints wait unacknowledged in busy workers."""

from __future__ import annotations

import time
from typing import Final

from tests.chaos.broker_control import limit_consumers
from tests.chaos.stage import Stage

NUMBER: Final = 8


def run(stage: Stage) -> None:
    limit, job_seconds = max(10.0, 60 * stage.scale), max(30.0, 180 * stage.scale)
    limit_consumers(stage.rabbitmq, seconds=limit, checked_every=min(60.0, limit))
    try:
        _work(stage, limit, job_seconds)
    finally:
        limit_consumers(stage.rabbitmq, seconds=1800, checked_every=60)


def _work(stage: Stage, limit: float, job_seconds: float) -> None:
    stage.job()
    stage.start_beat()
    busy = stage.start_worker(concurrency=2)
    stage.submit(2, seconds=job_seconds)
    stage.wait_for(lambda: stage.count("running") == 2, timeout=30, what="the start of the long runs")
    # They wait in the queue as long as both slots are busy, and hints for them in the worker.
    stage.submit(5, seconds=0.1)
    stage.wait_until_ended(job_seconds + 120)
    asked = time.monotonic()
    stage.submit(4, seconds=0.1)
    stage.wait_until_ended(60)
    after = time.monotonic() - asked
    closed = busy.log().count("PRECONDITION_FAILED")
    stage.done(f"Jobs of {job_seconds:.0f} s ran under a consumer_timeout of {limit:.0f} s, with hints waiting.")
    stage.figure("channels that RabbitMQ closed", closed)
    stage.limit("a run afterwards took", after, 15)
    stage.demand(bool(stage.slots(busy)), "the worker died")
    lost = stage.query("SELECT count(*) FROM jobs_attempt WHERE verdict = 'lost'")[0][0]
    stage.demand(not lost, f"{lost} attempts were lost")
