"""Plain Celery tasks of other people's schedules, sent as stock beat would send them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import amqp
from amqp.exceptions import ChannelError, FrameSyntaxError
from celery import current_app
from django.db import DatabaseError
from kombu.exceptions import KombuError, LimitExceeded, OperationalError
from kombu.utils import json

from jobs.messages import channels
from jobs.messages.channels import BROKER_ERRORS
from jobs.messages.confirming import Confirming, Prepared
from jobs.messages.taskmessage import TaskMessage, Unsent


def send_many(messages: Sequence[TaskMessage]) -> list[Unsent]:
    """Send the Celery tasks that PeriodicTasks name, as stock beat would. Return those that cannot be sent.

    When this returns, RabbitMQ has confirmed all others; transports without confirms have taken them. Raises one of
    `BROKER_ERRORS` when the broker is away or does not answer; any part of the messages may then have been sent.
    """
    if not messages:
        return []
    with channels.lend() as channel:
        if isinstance(channel, amqp.Channel):
            return _send_confirmed(messages, channel)
        producer = current_app.amqp.Producer(channel, auto_declare=False)
        return [unsent for message in messages if (unsent := _publish(message, producer))]


def _send_confirmed(messages: Sequence[TaskMessage], channel: Any) -> list[Unsent]:
    """Prepare all messages and declare their queues first: what is wrong with one is then known to be with that one."""
    prepared: list[Prepared] = []
    unsent: list[Unsent] = []
    producer = current_app.amqp.Producer(channel, auto_declare=False)
    for message in messages:
        own: list[Prepared] = []  # one, and the event "task-sent" where that is switched on
        channel.basic_publish = partial(_prepare, own, message)
        if failure := _publish(message, producer):
            unsent.append(failure)
        else:
            prepared += own
    return unsent + Confirming(channel).send(prepared)


def _prepare(prepared: list[Prepared], task: TaskMessage, message: amqp.Message, **options: Any) -> None:
    prepared.append(Prepared(task=task, message=message, exchange=options["exchange"], key=options["routing_key"]))


def _publish(message: TaskMessage, producer: Any) -> Unsent | None:
    try:
        _apply(message, producer)
    except Exception as error:  # a row, a router or a signal handler may raise anything
        if _is_of_broker(error):
            raise
        return Unsent(message=message, why=f"{type(error).__name__}: {error}")
    return None


def _is_of_broker(error: Exception) -> bool:
    """Tell whether an error says that the broker is away, rather than what is wrong with one message."""
    if isinstance(error, KombuError) and not isinstance(error, OperationalError | LimitExceeded):
        return False
    # Kombu wraps what it thinks may go better next time, also a queue that exists with other properties.
    met = error.__cause__ if isinstance(error, OperationalError) and error.__cause__ else error
    return isinstance(error, (*BROKER_ERRORS, DatabaseError)) and not isinstance(met, ChannelError | FrameSyntaxError)


def _apply(message: TaskMessage, producer: Any) -> None:
    """Do what stock beat does: a task that this process knows is sent with its own options beneath the row's."""
    app = current_app
    task = app.tasks.get(message.task)
    options: dict[str, Any] = {
        name: value
        for name in ("queue", "exchange", "routing_key", "priority")
        if (value := getattr(message, name)) is not None
    }
    headers = {
        **json.loads(message.headers or "{}"),
        "periodic_task_name": message.name,
        "celery_beat_task": True,
    }
    expires = message.expires or message.expire_seconds or getattr(task, "expires", None)
    if isinstance(expires, datetime):
        expires = max(0.0, (expires - message.now).total_seconds())
    if expires is not None:
        # Celery would count from the clock of this host. The broker gets the duration, the worker the moment.
        options["expires"] = expires
        until = (message.now + timedelta(seconds=expires)).astimezone(app.timezone)
        headers.setdefault("expires", until.isoformat())
    args, kwargs = json.loads(message.args or "[]"), json.loads(message.kwargs or "{}")
    apply: Callable[..., Any] = task.apply_async if task else partial(app.send_task, message.task)
    apply(args or [], kwargs or {}, producer=producer, headers=headers, retry=False, **options)
