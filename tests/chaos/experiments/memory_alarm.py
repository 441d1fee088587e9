"""RabbitMQ in memory alarm, so that it takes no message from anybody: beats, workers and the API go on without it."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Final

from django.contrib.auth.models import User
from knox.models import AuthToken

from jobsched.client import Client
from jobsched.domain.errors import Conflict
from tests.chaos.broker_control import end_memory_alarm, raise_memory_alarm
from tests.chaos.stage import Stage

NUMBER: Final = 7.5
_PROMISED_SECONDS: Final = 2.0


def run(stage: Stage) -> None:
    stage.job()
    stage.job("Fired", params={"seconds": 0.1})
    stage.start_beat()
    worker = stage.start_worker(concurrency=2)
    client = _client(stage)
    stage.every(1, job="Fired")
    stage.submit(stage.scaled(200, 10), seconds=(0.1, 1.0))
    stage.wait_for(lambda: stage.count("succeeded") > 5, timeout=60, what="the first runs")
    began_at = time.monotonic()
    raise_memory_alarm(stage.rabbitmq)
    try:
        before = stage.count("succeeded")
        waits = _ask_through_api(stage, client, seconds=max(15.0, 60 * stage.scale))
        ended = stage.count("succeeded") - before
    finally:
        end_memory_alarm(stage.rabbitmq)
    over = time.monotonic()
    stage.no_more_fires()
    stage.wait_until_ended(180)
    stage.done(f"The alarm lasted {over - began_at:.0f} s; {len(waits)} requests went to the API meanwhile.")
    stage.limit("longest answer of the API during the alarm", max(waits), _PROMISED_SECONDS)
    stage.figure("runs that ended during the alarm", ended)
    stage.figure("all drained after the alarm within", time.monotonic() - over, "s")
    stage.demand(bool(stage.slots(worker)), "the worker stayed dead")


def _ask_through_api(stage: Stage, client: Client, *, seconds: float) -> list[float]:
    """Ask for a run again and again, and for its cancel every other time. Return how long each answer took."""
    waits: list[float] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.monotonic()
        run = client.trigger("Job", params={"seconds": 0.1})["id"]
        waits.append(time.monotonic() - began)
        began = time.monotonic()
        with suppress(Conflict):  # a slot that is at work may have performed it already
            client.cancel(run)
        waits.append(time.monotonic() - began)
        time.sleep(0.2)
    return waits


def _client(stage: Stage) -> Client:
    token = AuthToken.objects.create(User.objects.create_superuser("chaos"))[1]
    client = Client(stage.start_web().url, token)
    client.jobs()  # what only the first request costs
    return client
