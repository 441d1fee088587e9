"""Celery's consumer, with two differences: it is back soon after its broker, and no message ends its worker."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from celery import signals
from celery.exceptions import NotRegistered
from celery.utils.objects import Bunch
from celery.worker.consumer import Consumer
from celery.worker.consumer.control import Control
from celery.worker.consumer.gossip import Gossip
from celery.worker.state import task_ready
from kombu.exceptions import ContentDisallowed, DecodeError

from jobs.consumer import compression, frames, mailboxes
from jobs.consumer.inbound import problem_of_task, why_no_command, why_no_event
from jobs.rejections import Reason, rejections

logger = logging.getLogger(__name__)

RETRY_SECONDS = 5.0
"""How long a worker waits at most between two attempts to reach a broker that is away."""

REMOTE_CONTROL = "(remote control)"
EVENTS = "(events)"
ELSEWHERE = "(other)"
"""What is counted in place of a queue: a publisher chooses the routing key, and may choose a new one each time."""


class PromptConsumer(Consumer):
    """Reconnects soon after its broker is back: Celery's own waits longer after each attempt, up to half a minute.
    RabbitMQ may still hold the former connection then, and with it the queue for remote control.

    Rejects messages that Celery's own would end at.
    """

    # What the stubs of Celery leave out.
    controller: Any
    pool: Any
    restart_count: int
    steps: list[Any]
    event_dispatcher: Any
    connection_errors: tuple[type[Exception], ...]
    channel_errors: tuple[type[Exception], ...]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        compression.bound()
        if self.controller is not None:
            self.controller._process_task = partial(self._process, self.controller._process_task)
        for step in self.steps:
            if isinstance(step, Control):
                box = cast(Any, step).box
                box.node.mailbox = mailboxes.fresh(box.node.mailbox)
                box.on_message = partial(self._on_command, box, box.on_message)
            elif isinstance(step, Gossip):
                cast(Any, step).on_message = partial(self._on_event, step.on_message)

    def on_ready(self) -> None:
        """Called once there is a connection, before the event loop runs.

        Celery's first loop ends the worker if a process of the pool has died by then, as it takes that for a pool that
        cannot start. Connecting may have taken hours, in which dead processes were not replaced: that is done here.
        """
        self.pool.maintain_pool()
        self.restart_count = max(self.restart_count, 1)
        super().on_ready()

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, and try again until that works."""
        frames.keep_reading(conn)
        conn.ensure_connection = partial(conn.ensure_connection, interval_max=RETRY_SECONDS)
        return super().ensure_connected(conn)

    # -- messages of queues ----------------------------------------------------------------------------------

    def create_task_handler(self, *args: Any, **options: Any) -> Callable[[Any], None]:
        """Return what handles a message: as Celery does, but nothing that is wrong with it is raised."""
        handle = super().create_task_handler(*args, **options)

        def on_message(message: Any) -> None:
            try:
                problem = problem_of_task(message, serves=self.app.amqp.queues.consume_from)
                if problem is None:
                    handle(message)
                else:
                    self._reject(message, *problem)
            except Exception as error:
                if self._is_of_broker(error):
                    raise
                unreadable = isinstance(error, DecodeError | ContentDisallowed)
                self._reject(message, Reason.UNREADABLE if unreadable else Reason.BAD_TASK, error)

        return on_message

    def _process(self, process: Callable[[Any], None], request: Any) -> None:
        """Hand a request to the pool. One that the pool does not accept must not keep its place there."""
        for name in ("on_accepted", "on_success", "on_failure", "on_timeout"):
            setattr(request, name, partial(self._follow, getattr(request, name), request))
        try:
            process(request)
        except Exception as error:
            if self._is_of_broker(error):
                raise
            task_ready(request)
            if self.controller.semaphore is not None:
                self.controller.semaphore.release()
            self._reject(request.message, Reason.BAD_TASK, error)

    def _follow(self, follow: Callable[..., Any], request: Any, *args: Any, **options: Any) -> Any:
        """Do what Celery does when a request begins or ends. If that fails, reject its message.

        An unanswered message would count against the prefetch limit.
        """
        try:
            return follow(*args, **options)
        except Exception:
            if not request.message.acknowledged:
                request.message.reject_log_error(logger, self.connection_errors)
            raise

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        self._reject(message, Reason.UNREADABLE, exc)

    def on_unknown_message(self, body: Any, message: Any) -> None:
        self._reject(message, Reason.NO_TASK, body)

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        self._reject(message, Reason.BAD_TASK, exc)

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Reject the message and record the failure of its task, as Celery does."""
        described = message.headers if "task" in message.headers else message.payload
        task_id, name = described["id"], described["task"]
        self._reject(message, Reason.UNKNOWN_TASK, name)
        properties = message.properties
        request = Bunch(
            name=name,
            chord=None,
            root_id=described.get("root_id"),
            correlation_id=properties.get("correlation_id"),
            reply_to=properties.get("reply_to"),
            errbacks=None,
        )
        self.app.backend.mark_as_failure(task_id, NotRegistered(name), request=request)
        if self.event_dispatcher:
            self.event_dispatcher.send("task-failed", uuid=task_id, exception=f"NotRegistered({name!r})")
        signals.task_unknown.send(sender=self, message=message, exc=exc, name=name, id=task_id)

    def _reject(self, message: Any, reason: Reason, detail: object) -> None:
        queue = message.delivery_info.get("routing_key")
        rejections.count(queue if queue in self.app.amqp.queues.consume_from else ELSEWHERE, reason, detail)
        if not message.acknowledged and not _is_unanswered(message):
            message.reject_log_error(logger, self.connection_errors)
        signals.task_rejected.send(sender=self, message=message, exc=detail if isinstance(detail, Exception) else None)

    def _is_of_broker(self, error: Exception) -> bool:
        """Tell whether an error is the broker's. A message may raise one of the same class, e.g. an OSError."""
        if isinstance(error, self.channel_errors):
            return True
        return isinstance(error, self.connection_errors) and not (self.connection and self.connection.connected)

    # -- what workers and operators send each other ----------------------------------------------------------

    def _on_command(self, box: Any, handle: Callable[[Any, Any], None], body: Any, message: Any) -> None:
        why = why_no_command(body, message.headers, box.node.handlers)
        if why is None:
            handle(body, message)  # which logs what a command raises, and goes on
        else:
            rejections.count(REMOTE_CONTROL, Reason.BAD_COMMAND, why)

    def _on_event(self, handle: Callable[[Any, Any], None], prepare: Any, message: Any) -> None:
        try:
            why: object = why_no_event(message.payload)
            if why is None:
                handle(prepare, message)
        except Exception as error:
            if self._is_of_broker(error):
                raise
            why = error
        if why is not None:
            rejections.count(EVENTS, Reason.BAD_EVENT, why)


def _is_unanswered(message: Any) -> bool:
    """Tell whether the broker expects no answer: to reject such a message would close the channel."""
    unanswered = message.channel.no_ack_consumers
    return unanswered is not None and message.delivery_info.get("consumer_tag") in unanswered
