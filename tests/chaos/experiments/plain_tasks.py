"""RabbitMQ is killed, half of the time in memory alarm, while a beat sends plain Celery tasks: none is lost."""

from __future__ import annotations

import time
from typing import Final

from django.db import close_old_connections, connection
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from tests.chaos.broker_control import raise_memory_alarm, waiting
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
    for number in range(kills):
        _wait_for_more(stage)
        if number % 2:
            # It lets anybody connect, and takes no message.
            raise_memory_alarm(stage.rabbitmq)
            time.sleep(stage.random.uniform(2.0, 4.0))
        else:
            # The moment messages count as sent: what it holds in memory only is lost now.
            counted = _counted(stage)
            stage.wait_for(lambda counted=counted: _counted(stage) > counted, timeout=60, what="a message", pause=0.002)
        stage.rabbitmq.kill()
        stage.rabbitmq.start()
    _wait_for_more(stage)
    close_old_connections()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE django_celery_beat_periodictask SET enabled = false")
    time.sleep(2)
    counted, there = _counted(stage), waiting(stage.broker_url, _QUEUE)
    stage.done(f"{_SCHEDULES} plain tasks a second; RabbitMQ killed {kills} times, half of them in memory alarm.")
    stage.figure("messages counted as sent", counted)
    stage.figure("messages in RabbitMQ", there)
    stage.demand(there >= counted, f"{counted - there} of {counted} messages that count as sent are lost")


def _wait_for_more(stage: Stage) -> None:
    wanted = _counted(stage) + 2 * _SCHEDULES
    stage.wait_for(lambda: _counted(stage) >= wanted, timeout=60, what="the sending of messages")


def _counted(stage: Stage) -> int:
    return int(stage.query("SELECT coalesce(sum(total_run_count), 0) FROM django_celery_beat_periodictask")[0][0])
