"""What a RabbitMQ says of itself to one of its clients. Nothing is made, and nothing kept is sent."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import amqp
from amqp.exceptions import ChannelError, NotFound
from celery import current_app

from jobs.celery_settings import queue_of

SECONDS: Final = 3.0
"""How long the broker may take to connect, and to answer each question."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueFacts:
    """One queue of the broker."""

    exists: bool
    consumers: int = 0
    refused: str = ""
    """Why it is not the queue that workers declare, in the broker's words, which a worker gets, too, at its start."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokerFacts:
    """What was found."""

    rabbitmq: bool
    """Else another transport of Kombu, of which nothing further is known here."""
    where: str
    """Its address without credentials."""
    version: tuple[int, ...] = ()
    blocked: str | None = None
    """Why it takes no messages now, such as an alarm, or None."""
    queues: dict[str, QueueFacts]


def read(queues: Iterable[str]) -> BrokerFacts:
    """Ask the broker. Raises BROKER_ERRORS of `jobs.messages` when it cannot be reached."""
    with current_app.connection_for_write(connect_timeout=SECONDS) as connection:
        where = connection.as_uri(include_password=False)
        if "amqp" not in connection.transport.driver_type:
            return BrokerFacts(rabbitmq=False, where=where, queues={})
        connection.connect()
        link: Any = connection.connection
        said = str(link.server_properties.get("version", ""))
        found = {name: _queue(link, name) for name in queues}
        blocked = _blocked(link)
        if blocked is not None:
            connection.collect()  # a blocked connection is not read from: an orderly end would wait for an answer
    version = tuple(int(part) for part in said.split("-", 1)[0].split("+", 1)[0].split(".") if part.isdigit())
    return BrokerFacts(rabbitmq=True, where=where, version=version, blocked=blocked, queues=found)


def _queue(link: Any, name: str) -> QueueFacts:
    with _channel(link) as channel:
        try:
            told = channel.queue_declare(name, passive=True)
        except NotFound:
            return QueueFacts(exists=False)
        except ChannelError as error:
            return QueueFacts(exists=True, refused=error.reply_text or str(error))
    # As workers do when they start; of a queue that is there, this changes nothing.
    with _channel(link) as channel:
        try:
            queue_of(current_app, name).queue_declare(channel=channel)
        except ChannelError as error:
            return QueueFacts(exists=True, consumers=told.consumer_count, refused=error.reply_text or str(error))
    return QueueFacts(exists=True, consumers=told.consumer_count)


def _blocked(link: Any) -> str | None:
    """Return why messages are not taken. The broker tells those who publish: so one is sent, which no queue gets."""
    found: list[str] = []
    answered: list[int] = []
    link.on_blocked = found.append
    channel = link.channel()
    channel.confirm_select()
    channel.events["basic_ack"].add(lambda tag, multiple: answered.append(tag))
    amqp.Channel.basic_publish(channel, amqp.Message(b""), exchange="", routing_key=f"jobs.doctor.{uuid4()}")
    deadline = time.monotonic() + SECONDS
    while not found and not answered:
        try:
            link.drain_events(timeout=max(0.01, deadline - time.monotonic()))
        except TimeoutError:
            return f"it did not confirm a message within {SECONDS:g} s"
    return found[0] if found else None


@contextmanager
def _channel(link: Any) -> Iterator[Any]:
    channel = link.channel()
    try:
        yield channel
    finally:
        with suppress(ChannelError):
            channel.close()
