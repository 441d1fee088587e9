"""Messages out: hints to workers, events to Flower, and plain Celery tasks of other people's schedules.

A hint says "queue Q has work" and nothing more. Losing one costs a second at most: the sweep sends another.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import psycopg
from amqp.exceptions import AMQPError
from celery import current_app
from django.db import transaction
from kombu.exceptions import KombuError

from jobs.conf import WORK_TASK

logger = logging.getLogger(__name__)

# What kombu and py-amqp raise when a broker is away, and what psycopg raises under the pgmq transport.
BROKER_ERRORS = (KombuError, AMQPError, OSError, psycopg.Error)

HINTS_AT_ONCE = 16
"""More hints than a queue has idle slots are waste: a slot goes on until its queue is empty."""
HINT_LIFETIME_SECONDS = 10
"""RabbitMQ drops a hint that nobody took by then, so that hints to busy workers do not pile up."""
QUIET_SECONDS = 2.0
"""How long hints are not even tried after one failed: neither beat nor a web request waits for a dead broker twice."""
SILENCE_SECONDS = 10.0
"""How long events are held back after the broker failed to take one, so that runs do not wait for it."""


@dataclass(slots=True)
class _Quiet:
    until: float = 0.0


_quiet = _Quiet()


class TaskMessage(Protocol):
    """What a PeriodicTask that names a plain Celery task asks to be sent, as its columns say it."""

    @property
    def task(self) -> str: ...
    @property
    def args(self) -> str: ...
    @property
    def kwargs(self) -> str: ...
    @property
    def queue(self) -> str | None: ...
    @property
    def exchange(self) -> str | None: ...
    @property
    def routing_key(self) -> str | None: ...
    @property
    def headers(self) -> str: ...
    @property
    def priority(self) -> int | None: ...
    @property
    def expire_seconds(self) -> int | None: ...


def hint(waiting: Mapping[str, int]) -> bool:
    """Tell workers which queues have work, given how many runs each holds. Return whether the broker took it."""
    if time.monotonic() < _quiet.until:
        return False
    try:
        with current_app.producer_or_acquire() as producer:
            for queue, runs in waiting.items():
                for _ in range(min(runs, HINTS_AT_ONCE)):
                    current_app.send_task(
                        WORK_TASK,
                        args=[queue],
                        queue=queue,
                        producer=producer,
                        expiration=HINT_LIFETIME_SECONDS,
                        delivery_mode="transient",  # worth less than a write to disk
                        retry=False,
                        ignore_result=True,
                    )
    except BROKER_ERRORS as error:
        _quiet.until = time.monotonic() + QUIET_SECONDS
        logger.warning("hint not sent: broker unreachable, the sweep will repeat it error=%s", error)
        return False
    return True


def hint_on_commit(waiting: Mapping[str, int]) -> None:
    """Send hints once the current transaction has committed; at once when there is none."""
    transaction.on_commit(partial(hint, dict(waiting)), robust=True)


def look() -> None:
    """Make every worker that hears it look at the database now, e.g. for a cancel. Heartbeats do so anyway."""
    try:
        current_app.control.broadcast("jobs_look")
    except BROKER_ERRORS as error:
        logger.warning("workers not told to look, their heartbeats will find it error=%s", error)


def send(message: TaskMessage) -> None:
    """Send the Celery task that a PeriodicTask names, with the options its columns give.

    Raises what the broker's connection raises: the caller's transaction then keeps the instant due.
    """
    options: dict[str, Any] = {
        "queue": message.queue,
        "exchange": message.exchange,
        "routing_key": message.routing_key,
        "priority": message.priority,
        "expires": message.expire_seconds,
        "headers": json.loads(message.headers or "{}"),
    }
    current_app.send_task(
        message.task,
        args=json.loads(message.args or "[]"),
        kwargs=json.loads(message.kwargs or "{}"),
        retry=False,
        **{name: value for name, value in options.items() if value},
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One task event of a run. `fields` are those that Celery defines for its kind."""

    kind: str
    """received, started, succeeded, failed, retried or revoked"""
    run_id: int
    at: float
    """seconds since the epoch"""
    fields: dict[str, Any] = field(default_factory=dict)


class Events:
    """Task events for Flower, one series a run under its job's name, sent by the slot that performs it."""

    def __init__(self, *, hostname: str, enabled: bool) -> None:
        self._hostname = hostname
        self.enabled = enabled
        self._silent_until = 0.0

    def send(self, events: Sequence[Event]) -> None:
        """Send events in one message. A broker that is away costs one try in ten seconds, and no run."""
        if not self.enabled or not events or time.monotonic() < self._silent_until:
            return
        try:
            with current_app.events.default_dispatcher(hostname=self._hostname) as dispatcher:
                dispatcher.buffer_group, dispatcher.buffer_limit = frozenset({"task"}), len(events) + 1
                for event in events:
                    dispatcher.send(
                        f"task-{event.kind}", uuid=f"run-{event.run_id}", timestamp=event.at, **event.fields
                    )
                dispatcher.flush()
        except BROKER_ERRORS as error:
            self._silent_until = time.monotonic() + SILENCE_SECONDS
            logger.warning("events not sent: broker unreachable error=%s", error)
