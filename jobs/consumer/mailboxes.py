"""Mailboxes of remote control that a worker can open again at once after its connection broke.

Celery names a worker's queue for commands after the worker, and only one connection may use it. When the wire is cut,
RabbitMQ keeps the former connection until it misses its heartbeats, up to a minute. Until then every new connection of
the worker is refused this queue (`RESOURCE_LOCKED`), and Celery connects again, several times a second, without ever
reaching its tasks. The exchange sends each command to all queues, whatever their names, so each connection can have
a queue of its own.
"""

from __future__ import annotations

from copy import copy
from typing import Any
from uuid import uuid4


def fresh(mailbox: Any) -> Any:
    """Return a copy of a mailbox of Kombu's that uses a new queue each time it is opened.

    The queues are exclusive to their connections, and RabbitMQ removes each with its connection.
    """
    named = mailbox.get_queue

    def get_queue(hostname: str) -> Any:
        return named(f"{hostname}.{uuid4().hex[:12]}")

    copied = copy(mailbox)
    copied.get_queue = get_queue
    return copied
