"""Celery in: parse, call one service verb."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from typing import Any

from celery import Task, shared_task
from celery.signals import celeryd_init, worker_process_init, worker_ready, worker_shutdown
from celery.worker.control import control_command, inspect_command
from celery.worker.request import Request
from kombu.asynchronous import get_event_loop

from jobs import worker
from jobs.celery_settings import worker as worker_settings  # noqa: F401 - its receivers of signals come first
from jobs.conf import STATE_COMMAND, WORK_TASK, conf
from jobs.rejections import Reason, rejections
from jobs.services import database_watch, rejected
from jobsched.domain.errors import InvalidInput
from jobsched.hidden_settings import forget, hidden_in_slots
from jobsched.shim.lease import lease_clock
from jobsched.shim.users import give_up_root

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
    """The task that carries hints, as workers receive it. Settings and annotations for all tasks leave it alone.

    See `jobs.celery_settings.table`.
    """

    Request = "jobs.tasks:HeldHint"
    Strategy = "jobs.consumer.hintstrategy:strategy"
    from_config = ()
    acks_late = False
    ignore_result = True
    send_events = False
    serializer = "json"

    @classmethod
    def annotate(cls) -> None:
        """Apply none of CELERY_TASK_ANNOTATIONS, such as those of '*'."""


@shared_task(name=WORK_TASK, base=HintTask, bind=True)
def work(self: HintTask, queue: str) -> None:
    """Take a hint: perform what waits in `queue` until it is empty or this slot's turn is over."""
    from jobs.services import running  # here, because beats and web processes have this task, too, and never perform it

    if _no_slots:
        rejections.count(queue, Reason.NO_SLOTS, _no_slots)
        return
    running.work(queue, hostname=self.request.hostname or "slot")


_no_slots: str | None = None
"""Why this process is no slot, in a worker without any. An operator may give it a queue of jobs while it runs."""


@celeryd_init.connect
def _prepare(instance: Any, options: dict[str, Any], **_: Any) -> None:
    """Make a worker ready for runs, before it writes a file or connects to anything.

    End one that would take hints and could not serve them.
    """
    from jobs.consumer import pools  # here, because beats and web processes load no consumer
    from jobs.consumer.pausing import PauseStep

    global _no_slots
    served = pools.served_queues(instance, options, of_jobs=conf().queues)
    _no_slots = pools.why_no_slots(instance.app, options)
    if _no_slots is None:
        _prepare_for_runs(instance, options)
    elif served:
        sys.exit(pools.refusal(served, _no_slots))  # Celery logs other exceptions of signals' receivers, and goes on
    else:
        _give_up_root()
    if served:
        instance.app.steps["consumer"].add(PauseStep)
        worker_ready.connect(_watch_database)
        worker_ready.connect(_look_at_connections)


def _give_up_root() -> None:
    try:
        give_up_root()
    except InvalidInput as error:
        sys.exit(str(error))


def _prepare_for_runs(instance: Any, options: dict[str, Any]) -> None:
    """Load what performs runs, so that slots share that memory and need not load it. Give up the rights of root."""
    from jobs.services import running

    def log_as_slots_do() -> None:
        instance.app.log.setup(options.get("loglevel"), None)

    running.name_sessions_of_worker()
    if running.give_up_privileges(prepare=log_as_slots_do):
        worker_ready.connect(_refuse_to_restart)
    running.note_protection()


def _watch_database(**_: Any) -> None:
    database_watch.start()


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


def _look_at_connections(sender: Any, **_: Any) -> None:
    """In a main process of a worker: find out in a thread whether PostgreSQL allows enough connections."""
    from jobs.services import preflight  # here, because only workers and `doctor` need it

    threading.Thread(
        target=preflight.warn_at_start,
        args=(sender.hostname,),
        kwargs={"slots": _slots(sender.controller)},
        name="connections",
        daemon=True,
    ).start()


@worker_shutdown.connect
def _report_last_rejections(**_: Any) -> None:
    rejections.stop(rejected.record)


@inspect_command(name=STATE_COMMAND)
def state(state: Any) -> dict[str, Any]:
    """In a worker's main process, for `doctor`: return what is protected from runs, what is not, and its slots.

    Also for how many seconds the database could not be reached; None while it can.
    """
    from jobs.services import running

    found, cut_off_since = running.present_protection(), worker.cut_off_since()
    return {
        "given": list(found.given),
        "missing": list(found.missing),
        "slots": _slots(state.consumer.controller),
        "cut_off_seconds": None if cut_off_since is None else lease_clock() - cut_off_since,
    }


def _slots(controller: Any) -> int:
    """Return how many slots a worker may have at most: `--autoscale` lets it start more than it has now."""
    return max(int(controller.concurrency or 0), int(controller.max_concurrency or 0))


@control_command(name="jobs_look")
def look(state: Any) -> dict[str, str]:
    """In a worker's main process: make its slots look at the database now."""
    worker.look()
    return {"ok": "looking"}
