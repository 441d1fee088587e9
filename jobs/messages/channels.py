"""Channels to the broker, and how long anybody waits for one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final, cast

import amqp
import psycopg
from amqp.exceptions import AMQPError
from celery import current_app
from kombu.exceptions import KombuError, OperationalError

from jobs.celery_settings import broker_problem

BROKER_ERRORS: Final = (KombuError, AMQPError, OSError, psycopg.Error)
"""What kombu and py-amqp raise when a broker is away, and what psycopg raises under the pgmq transport."""

PATIENCE_SECONDS: Final = 5.0
"""How long RabbitMQ may be silent before it counts as away."""
SHORT_PATIENCE_SECONDS: Final = 1.5
"""The same where somebody waits and little is lost: requests of the API promise not to wait for longer than 2 s."""
_SHORTEST_PATIENCE_SECONDS: Final = 0.05


@contextmanager
def lend(patience: float = PATIENCE_SECONDS) -> Iterator[Any]:
    """Lend a channel: one of our own where RabbitMQ confirms, as those that others use do not confirm in batches.

    Raises BROKER_ERRORS, e.g. when the broker is silent for `patience` seconds. A connection that failed is not
    used again.
    """
    give_up = time.monotonic() + patience
    load_transport()
    with current_app.connection_or_acquire() as connection:
        may_have_died = connection.connected
        try:
            # What broke while nobody looked must leave time for another connection.
            channel = opened(connection, patience / 2 if may_have_died else patience)
        except BROKER_ERRORS:
            connection.collect()
            if not may_have_died:
                raise
            channel = opened(connection, give_up - time.monotonic())
        try:
            with bounded(connection, give_up - time.monotonic()):
                yield channel
                if isinstance(channel, amqp.Channel):
                    channel.close()
        except BROKER_ERRORS:
            connection.collect()
            raise


def load_transport() -> None:
    """Have Kombu import what the kind of broker needs. Raises OperationalError where jobs cannot use that kind."""
    try:
        _ = cast(Any, current_app.pool).connection.transport
    except Exception as error:  # modules of Kombu fail in many ways where the library of a broker is missing
        if problem := broker_problem(current_app):
            raise OperationalError(problem) from error
        raise


def opened(connection: Any, seconds: float) -> Any:
    """Connect within so many seconds, and return a channel: a new one where RabbitMQ confirms. Raises BROKER_ERRORS."""
    # Kombu would try for ever, and whoever waits here holds rows that other beats pass over.
    others = max(0, len(connection.alt) - 1)
    before = connection.connect_timeout
    connection.connect_timeout = min(before, seconds / (1 + others))
    try:
        connection.ensure_connection(max_retries=others, interval_start=0, interval_max=0)
    finally:
        connection.connect_timeout = before
    with bounded(connection, seconds):
        return connection.channel() if _confirms(connection) else connection.default_channel


def _confirms(connection: Any) -> bool:
    # Missing in other transports, and in the stubs of this one.
    offered = getattr(connection.connection, "server_properties", {}).get("capabilities", {})
    return isinstance(connection.connection, amqp.Connection) and bool(offered.get("publisher_confirms"))


def bounded(connection: Any, seconds: float) -> AbstractContextManager[Any]:
    """Bound every wait for the broker: one that is blocked (a memory or disk alarm) says nothing at all."""
    if not _confirms(connection):
        return nullcontext()
    transport = connection.connection.transport
    return cast(AbstractContextManager[Any], transport.having_timeout(max(seconds, _SHORTEST_PATIENCE_SECONDS)))


def reachable() -> bool:
    """Tell whether the broker answers now."""
    try:
        with lend():
            return True
    except BROKER_ERRORS:
        return False
