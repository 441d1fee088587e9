"""A step of Celery's consumer: a worker that cannot reach the database takes no hints, and is not healthy.

Its hints stay in their queues, or go back there, for workers that can. Queues that jobs cannot name are not touched:
plain Celery tasks of the project go on.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Final

from celery.bootsteps import StartStopStep
from celery.worker.consumer.tasks import Tasks
from celery.worker.state import reserved_requests

from jobs import worker
from jobs.conf import WORK_TASK, conf

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0
"""How often the state of the database is looked up, and the health file renewed."""


class PauseStep(StartStopStep):
    """Stops and resumes the consuming of hints, and renews the health file."""

    requires = (Tasks,)

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._paused: set[str] = set()
        self._timer: Any = None
        self._complained = False

    def start(self, consumer: Any) -> None:
        """Called for each new connection to the broker, before anything is consumed from it."""
        self._paused = set()
        self._look(consumer)
        self._timer = consumer.timer.call_repeatedly(LOOK_SECONDS, self._look_soon, (consumer,))

    def stop(self, consumer: Any) -> None:
        """Called when the connection is lost or the worker stops."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_soon(self, consumer: Any) -> None:
        # A timer may have a thread of its own; channels belong to the thread of the loop.
        consumer.call_soon(self._look_safely, consumer)

    def _look_safely(self, consumer: Any) -> None:
        try:
            self._look(consumer)
        except (*consumer.connection_errors, *consumer.channel_errors):
            raise  # the consumer connects again
        except Exception:  # anything else would end the worker
            logger.exception("hints not paused or resumed, trying again")

    def _look(self, consumer: Any) -> None:
        if consumer.task_consumer is None:
            return
        if worker.cut_off_since() is not None:
            self._pause(consumer)
        else:
            self._resume(consumer)
            self._show_health()

    def _pause(self, consumer: Any) -> None:
        for queue in filter(consumer.task_consumer.consuming_from, conf().queues):
            consumer.task_consumer.cancel_by_queue(queue)
            self._paused.add(queue)
        for request in tuple(reserved_requests):
            # The first is set once an answer is scheduled, the second once it is sent. A second answer ends the worker.
            if request.name == WORK_TASK and not request.acknowledged and not request.message.acknowledged:
                request.message.requeue()

    def _resume(self, consumer: Any) -> None:
        if not self._paused:
            return
        wanted = consumer.app.amqp.queues.consume_from  # an operator may have taken queues away meanwhile
        for queue in self._paused & set(wanted):
            consumer.task_consumer.add_queue(wanted[queue])
        self._paused = set()
        consumer.task_consumer.consume()

    def _show_health(self) -> None:
        path = conf().worker_health_file
        if path is None:
            return
        try:
            path.touch()
        except OSError as error:
            self._complain(path, error)

    def _complain(self, path: Path, error: OSError) -> None:
        if not self._complained:
            logger.error("worker cannot renew its health file, its health check fails file=%s error=%s", path, error)
        self._complained = True
