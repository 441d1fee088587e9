"""Celery in: parse, call one service verb."""

from __future__ import annotations

import logging
import signal
from typing import Any

from celery import Task, shared_task
from celery.signals import celeryd_init, worker_process_init, worker_ready, worker_shutdown
from celery.worker.control import control_command, inspect_command
from celery.worker.request import Request
from kombu.asynchronous import get_event_loop

from jobs import worker
from jobs.conf import PROTECTION_COMMAND, WORK_TASK
from jobs.rejections import rejections
from jobs.services import rejected
from jobsched.hidden_settings import forget, hidden_in_slots

logger = logging.getLogger(__name__)

HELD_SECONDS = 30.0
"""RabbitMQ closes the channel of a consumer that keeps a message for longer than its `consumer_timeout`, which
nobody has reason to set below a minute."""


class HeldHint(Request):
    """A hint in a worker's main process. When no slot takes it in time, it is acknowledged all the same.

    Celery acknowledges a message once a slot begins with it, and its worker ends when RabbitMQ closes the channel
    (celery#6760): one long run in each slot was enough. A hint that a slot takes late does no harm.
    """

    def __init__(self, message: Any, **options: Any) -> None:
        super().__init__(message, **options)
        hub = get_event_loop()
        self._late = None if hub is None else hub.call_later(HELD_SECONDS, self.acknowledge)

    def acknowledge(self) -> None:
        """Acknowledge the message, unless that was done before."""
        if self._late is not None:
            self._late.cancel()
        if not self.message.acknowledged:  # nor rejected
            super().acknowledge()


class HintTask(Task[Any, Any]):
    """The task that carries hints, as workers receive it."""

    Request = "jobs.tasks:HeldHint"


@shared_task(name=WORK_TASK, base=HintTask, bind=True, ignore_result=True, send_events=False, acks_late=False)
def work(self: HintTask, queue: str) -> None:
    """Take a hint: perform what waits in `queue` until it is empty or this slot's turn is over."""
    from jobs.services import running  # here, because beats and web processes have this task, too, and never perform it

    running.work(queue, hostname=self.request.hostname or "slot")


@celeryd_init.connect
def _prepare(instance: Any, options: dict[str, Any], **_: Any) -> None:
    """Load what performs runs in a worker's main process, so that its slots share that memory and need not load it.

    Then give up the rights of root. This is before the worker writes a file or connects to anything.
    """
    from jobs.services import running

    def log_as_slots_do() -> None:
        instance.app.log.setup(options.get("loglevel"), None)

    if running.give_up_privileges(prepare=log_as_slots_do):
        worker_ready.connect(_refuse_to_restart)
    running.note_protection()


def _refuse_to_restart(**_: Any) -> None:
    """On SIGHUP Celery executes its program again, which would no longer be root."""
    signal.signal(signal.SIGHUP, _cannot_restart)


def _cannot_restart(*_: Any) -> None:
    logger.error("a worker that was started as root cannot restart itself on SIGHUP: stop it, and start it again")


@worker_process_init.connect
def _forget_settings(**_: Any) -> None:
    """In a slot: remove the installation's settings from the environment that trusted callables see."""
    forget(hidden_in_slots)


@worker_ready.connect
def _report_rejections(**_: Any) -> None:
    """In a worker's main process: start to log and record the messages that it rejects."""
    rejections.start(rejected.record)


@worker_shutdown.connect
def _report_last_rejections(**_: Any) -> None:
    rejections.stop(rejected.record)


@inspect_command(name=PROTECTION_COMMAND)
def protection(state: Any) -> dict[str, list[str]]:
    """In a worker's main process: return what is protected from runs, and what is not, for `doctor`."""
    from jobs.services import running

    found = running.present_protection()
    return {"given": list(found.given), "missing": list(found.missing)}


@control_command(name="jobs_look")
def look(state: Any) -> dict[str, str]:
    """In a worker's main process: make its slots look at the database now."""
    worker.look()
    return {"ok": "looking"}
