"""Messages out: hints to workers, events to Flower, and plain Celery tasks of other people's schedules.

A hint says "queue Q has work" and nothing more. Losing one costs a second at most: the sweep sends another.
"""

from __future__ import annotations

import logging
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol, cast
from uuid import uuid4

import amqp
import psycopg
from amqp.exceptions import AMQPError, ChannelError, FrameSyntaxError
from celery import current_app
from django.db import DatabaseError, transaction
from kombu.exceptions import KombuError, LimitExceeded, OperationalError
from kombu.utils import json

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

PATIENCE_SECONDS = 5.0
"""How long RabbitMQ may be silent before it counts as away."""
HINT_PATIENCE_SECONDS = 1.5
"""The same where somebody waits and little is lost: requests of the API promise not to wait for longer than 2 s."""
SHORTEST_PATIENCE_SECONDS = 0.05


@dataclass(slots=True)
class _Quiet:
    until: float = 0.0


_quiet = _Quiet()


class TaskMessage(Protocol):
    """What a PeriodicTask that names a plain Celery task asks to be sent, as its columns say it."""

    @property
    def name(self) -> str: ...
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
    def headers(self) -> str | None: ...
    @property
    def priority(self) -> int | None: ...
    @property
    def expires(self) -> datetime | None: ...
    @property
    def expire_seconds(self) -> int | None: ...
    @property
    def now(self) -> datetime:
        """The database's clock: expiries count from it, as the clock of a beat's host may be wrong."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unsent:
    """A message that cannot be sent however often it is tried, and why."""

    message: TaskMessage
    why: str


def hint(waiting: Mapping[str, int]) -> bool:
    """Tell workers which queues have work, given how many runs each holds. Return whether the broker took it.

    Takes no longer than `HINT_PATIENCE_SECONDS`, whatever the broker does.
    """
    if time.monotonic() < _quiet.until:
        return False
    hints = {queue: min(runs, HINTS_AT_ONCE) for queue, runs in waiting.items() if runs > 0}
    try:
        if hints:
            _send_hints(hints)
    except BROKER_ERRORS as error:
        _quiet.until = time.monotonic() + QUIET_SECONDS
        logger.warning("hint not sent: broker unreachable, the sweep will repeat it error=%s", error)
        return False
    return True


def _send_hints(hints: Mapping[str, int]) -> None:
    """Make one message a queue and send copies of it: a beat that fires thousands has no time to make each anew.

    Nobody waits for each to be confirmed, as closing the channel waits for all.
    """
    with _channel(HINT_PATIENCE_SECONDS) as channel:
        producer = current_app.amqp.Producer(channel, auto_declare=False)
        for queue, count in hints.items():
            if not isinstance(channel, amqp.Channel):
                for _ in range(count):
                    _publish_hint(queue, producer)
                continue
            made: list[tuple[amqp.Message, dict[str, Any]]] = []
            cast(Any, channel).basic_publish = partial(_keep, made)
            _publish_hint(queue, producer)
            for message, options in made:
                for _ in range(count):
                    amqp.Channel.basic_publish(channel, _copy(message), **options)


def _keep(made: list[tuple[amqp.Message, dict[str, Any]]], message: amqp.Message, **options: Any) -> None:
    made.append((message, {name: options[name] for name in ("exchange", "routing_key")}))


def _copy(message: amqp.Message) -> amqp.Message:
    """Return the same message as one of its own: tasks are told apart by their ids."""
    properties, own = dict(message.properties), str(uuid4())
    properties["application_headers"] = {**properties["application_headers"], "id": own, "root_id": own}
    return amqp.Message(message.body, **{**properties, "correlation_id": own})


def _publish_hint(queue: str, producer: Any) -> None:
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


def hint_on_commit(waiting: Mapping[str, int]) -> None:
    """Send hints once the current transaction has committed; at once when there is none."""
    transaction.on_commit(partial(hint, dict(waiting)), robust=True)


def look() -> None:
    """Make every worker that hears it look at the database now, e.g. for a cancel. Heartbeats do so anyway.

    Takes no longer than `HINT_PATIENCE_SECONDS`, whatever the broker does.
    """
    try:
        if time.monotonic() < _quiet.until:
            raise OperationalError("it was away a moment ago")
        with _channel(HINT_PATIENCE_SECONDS) as channel:
            _broadcast("jobs_look", channel)
    except BROKER_ERRORS as error:
        _quiet.until = max(_quiet.until, time.monotonic() + QUIET_SECONDS)
        logger.warning("workers not told to look, their heartbeats will find it error=%s", error)


def _broadcast(command: str, channel: Any) -> None:
    """Do what Celery's `control.broadcast` does, which would try for ever."""
    mailbox = cast(Any, current_app.control).mailbox
    current_app.amqp.Producer(channel, auto_declare=False).publish(
        {"method": command, "arguments": {}, "destination": None, "pattern": None, "matcher": None},
        exchange=mailbox.exchange.name,
        declare=[mailbox.exchange],
        headers={"clock": mailbox.clock.forward(), "expires": 0},
        serializer=mailbox.serializer,
    )


def send_many(messages: Sequence[TaskMessage]) -> list[Unsent]:
    """Send the Celery tasks that PeriodicTasks name, as stock beat would. Return those that cannot be sent.

    When this returns, RabbitMQ has confirmed all others; transports without confirms have taken them. Raises one of
    `BROKER_ERRORS` when the broker is away or does not answer; any part of the messages may then have been sent.
    """
    if not messages:
        return []
    with _channel() as channel:
        if isinstance(channel, amqp.Channel):
            return _send_confirmed(messages, channel)
        producer = current_app.amqp.Producer(channel, auto_declare=False)
        return [unsent for message in messages if (unsent := _publish(message, producer))]


@contextmanager
def _channel(patience: float = PATIENCE_SECONDS) -> Iterator[Any]:
    """Lend a channel: one of our own where RabbitMQ confirms, as those that others use do not confirm in batches.

    Raises BROKER_ERRORS, e.g. when the broker is silent for `patience` seconds. A connection that failed is not
    used again.
    """
    give_up = time.monotonic() + patience
    with current_app.connection_or_acquire() as connection:
        may_have_died = connection.connected
        try:
            # What broke while nobody looked must leave time for another connection.
            channel = _opened(connection, patience / 2 if may_have_died else patience)
        except BROKER_ERRORS:
            connection.collect()
            if not may_have_died:
                raise
            channel = _opened(connection, give_up - time.monotonic())
        try:
            with _patience(connection, give_up - time.monotonic()):
                yield channel
                if isinstance(channel, amqp.Channel):
                    channel.close()
        except BROKER_ERRORS:
            connection.collect()
            raise


def _opened(connection: Any, seconds: float) -> Any:
    # Kombu would try for ever, and whoever waits here holds rows that other beats pass over.
    others = max(0, len(connection.alt) - 1)
    before = connection.connect_timeout
    connection.connect_timeout = min(before, seconds / (1 + others))
    try:
        connection.ensure_connection(max_retries=others, interval_start=0, interval_max=0)
    finally:
        connection.connect_timeout = before
    with _patience(connection, seconds):
        return connection.channel() if _confirms(connection) else connection.default_channel


def _confirms(connection: Any) -> bool:
    # Missing in other transports, and in the stubs of this one.
    offered = getattr(connection.connection, "server_properties", {}).get("capabilities", {})
    return isinstance(connection.connection, amqp.Connection) and bool(offered.get("publisher_confirms"))


def _patience(connection: Any, seconds: float) -> AbstractContextManager[Any]:
    """Bound every wait for the broker: one that is blocked (a memory or disk alarm) says nothing at all."""
    if not _confirms(connection):
        return nullcontext()
    transport = connection.connection.transport
    return cast(AbstractContextManager[Any], transport.having_timeout(max(seconds, SHORTEST_PATIENCE_SECONDS)))


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
        # Celery would count from the clock of this host. The broker is told how long, the worker until when.
        options["expires"] = expires
        until = (message.now + timedelta(seconds=expires)).astimezone(app.timezone)
        headers.setdefault("expires", until.isoformat())
    args, kwargs = json.loads(message.args or "[]"), json.loads(message.kwargs or "{}")
    apply: Callable[..., Any] = task.apply_async if task else partial(app.send_task, message.task)
    apply(args or [], kwargs or {}, producer=producer, headers=headers, retry=False, **options)


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """What RabbitMQ is to be sent for a task."""

    task: TaskMessage
    message: amqp.Message
    exchange: str
    key: str


class Confirming:
    """Publishes many messages and waits for RabbitMQ's confirms once, at the end.

    A message that RabbitMQ objects to closes the channel and takes those behind it along, and it does not say which
    it was. So the first to each exchange is waited for alone: only an exchange that works gets many.
    """

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._last_tag = 0
        self._waiting: dict[int, Prepared] = {}
        self._unsent: list[Unsent] = []
        self._returned: list[str] = []
        channel.events["basic_ack"].add(self._settled)
        channel.events["basic_nack"].add(self._refused)
        channel.events["basic_return"].add(self._came_back)
        channel.confirm_select()

    def send(self, prepared: Sequence[Prepared]) -> list[Unsent]:
        """Publish all, in order within each exchange. Return those that RabbitMQ refuses. Raises BROKER_ERRORS."""
        rest, working = deque[Prepared](), set[str]()
        for one in prepared:
            if one.exchange in working:
                rest.append(one)
            elif self._send_alone(one):
                working.add(one.exchange)
        try:
            while rest:
                self._put(rest[0])
                rest.popleft()
            self._wait()
        except ChannelError:
            # Some may have arrived, and are sent twice then: better than not at all.
            again = [*self._waiting.values(), *rest]
            self._begin_anew()
            for one in again:
                self._send_alone(one)
        self._send_again_what_came_back(prepared)
        return self._unsent

    def _send_alone(self, one: Prepared) -> bool:
        try:
            self._put(one)
            self._wait()
        except ChannelError as error:
            self._unsent.append(Unsent(message=one.task, why=str(error)))
            self._begin_anew()
            return False
        return True

    def _put(self, one: Prepared) -> None:
        try:
            amqp.Channel.basic_publish(
                self._channel,
                one.message,
                exchange=one.exchange,
                routing_key=one.key,
                mandatory=not one.exchange,
                timeout=PATIENCE_SECONDS,
            )
        except (FrameSyntaxError, struct.error, ValueError, TypeError) as error:  # a header that AMQP cannot hold
            self._unsent.append(Unsent(message=one.task, why=f"{type(error).__name__}: {error}"))
        else:
            self._last_tag += 1
            self._waiting[self._last_tag] = one

    def _wait(self) -> None:
        while self._waiting:
            self._channel.connection.drain_events(timeout=PATIENCE_SECONDS)

    def _begin_anew(self) -> None:
        """py-amqp has opened the channel again; its confirms are off, and count from 1."""
        self._waiting.clear()
        self._last_tag = 0
        self._channel.confirm_select()

    def _send_again_what_came_back(self, prepared: Sequence[Prepared]) -> None:
        """A queue that somebody deleted is declared once in the life of a connection, so declare it now."""
        returned, self._returned = set(self._returned), []
        for one in prepared:
            queue = current_app.amqp.queues.get(one.key)
            if queue is not None and one.message.properties.get("correlation_id") in returned:
                queue.bind(self._channel).declare()
                self._send_alone(one)

    def _settled(self, tag: int, multiple: bool) -> None:
        for settled in [t for t in self._waiting if t <= tag] if multiple else [tag]:
            self._waiting.pop(settled, None)

    def _refused(self, tag: int, multiple: bool) -> None:
        why = "the broker refused it; its queue may be full"
        for nacked, one in self._waiting.items():
            if nacked == tag or (multiple and nacked < tag):
                self._unsent.append(Unsent(message=one.task, why=why))
        self._settled(tag, multiple)

    def _came_back(self, error: Exception, exchange: str, key: str, message: amqp.Message) -> None:
        self._returned.append(message.properties["correlation_id"])


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
                self._send(events, dispatcher)
        except BROKER_ERRORS as error:
            self._silent_until = time.monotonic() + SILENCE_SECONDS
            logger.warning("events not sent: broker unreachable error=%s", error)

    @staticmethod
    def _send(events: Sequence[Event], dispatcher: Any) -> None:
        dispatcher.buffer_group, dispatcher.buffer_limit = frozenset({"task"}), len(events) + 1
        for event in events:
            dispatcher.send(f"task-{event.kind}", uuid=f"run-{event.run_id}", timestamp=event.at, **event.fields)
        try:
            with _patience(dispatcher.connection, HINT_PATIENCE_SECONDS):
                dispatcher.flush()
        except BROKER_ERRORS:
            dispatcher.connection.collect()
            raise


def reachable() -> bool:
    """Tell whether the broker answers now."""
    try:
        with _channel():
            return True
    except BROKER_ERRORS:
        return False
