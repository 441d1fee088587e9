"""RabbitMQ is frozen and killed while beats send other people's plain Celery tasks: what counts as sent is there."""

from __future__ import annotations

import os
import signal
import time
from typing import Final

from django.db import close_old_connections, connection
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from kombu import Connection

from tests.chaos.stage import Stage

NUMBER: Final = 5.5

_SCHEDULES: Final = 50
_KILLS: Final = 10
_QUEUE: Final = "third"


def run(stage: Stage) -> None:
    every = IntervalSchedule.objects.get_or_create(every=1, period="seconds")[0]
    stage.start_beat()
    PeriodicTask.objects.bulk_create(
        PeriodicTask(name=f"Plain {number}", task="chaos.note", args='["", ""]', interval=every, queue=_QUEUE)
        for number in range(_SCHEDULES)
    )
    kills = stage.scaled(_KILLS, 2)
    for _ in range(kills):
        _wait_for_more(stage)
        # Frozen, it takes bytes and does nothing with them; what it had not written when it is killed is gone.
        os.killpg(stage.rabbitmq.pid, signal.SIGSTOP)
        time.sleep(stage.random.uniform(0.5, 3.0))
        stage.rabbitmq.kill()
        stage.rabbitmq.start()
    _wait_for_more(stage)
    close_old_connections()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE django_celery_beat_periodictask SET enabled = false")
    time.sleep(2)
    counted, there = _counted(stage), _there(stage)
    stage.done(f"{_SCHEDULES} plain tasks a second; RabbitMQ frozen and killed {kills} times.")
    stage.figure("messages counted as sent", counted)
    stage.figure("messages in RabbitMQ", there)
    stage.demand(there >= counted, f"{counted - there} of {counted} messages that count as sent are lost")


def _wait_for_more(stage: Stage) -> None:
    wanted = _counted(stage) + 2 * _SCHEDULES
    stage.wait_for(lambda: _counted(stage) >= wanted, timeout=60, what="the sending of messages")


def _counted(stage: Stage) -> int:
    return int(stage.query("SELECT coalesce(sum(total_run_count), 0) FROM django_celery_beat_periodictask")[0][0])


def _there(stage: Stage) -> int:
    with Connection(stage.broker_url) as broker:
        return int(broker.default_channel.queue_declare(_QUEUE, passive=True).message_count)
