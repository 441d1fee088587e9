"""The message of a hint. It is the same whatever Celery's settings say about messages of tasks.

It has no serializer, compression, protocol, route, exchange, priority or time limit of the project's: it goes straight
to the queue of its name, and `jobs.consumer.inbound` takes hints of this form only.
"""

from __future__ import annotations

import json
from typing import Any, Final
from uuid import uuid4

import amqp
from kombu import Producer, Queue

from jobs.conf import WORK_TASK

LIFETIME_SECONDS: Final = 10
"""RabbitMQ drops a hint that nobody took by then, so that hints to busy workers do not pile up."""
_TRANSIENT: Final = 1
"""A hint is worth less than a write to disk."""
_NOTHING_FOLLOWS: Final = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def message(queue: str) -> amqp.Message:
    """Return a new message for RabbitMQ."""
    headers = _headers(queue)
    return amqp.Message(
        json.dumps(_body(queue)),
        content_type="application/json",
        content_encoding="utf-8",
        application_headers=headers,
        correlation_id=headers["id"],
        delivery_mode=_TRANSIENT,
        expiration=str(LIFETIME_SECONDS * 1000),
    )


def publish(queue: str, channel: Any) -> None:
    """Publish a hint by Kombu's producer, for other transports than RabbitMQ's."""
    headers = _headers(queue)
    Producer(channel, auto_declare=False).publish(
        _body(queue),
        exchange="",
        routing_key=queue,
        declare=[Queue(queue)],
        serializer="json",
        headers=headers,
        correlation_id=headers["id"],
        delivery_mode=_TRANSIENT,
        expiration=LIFETIME_SECONDS,
    )


def _body(queue: str) -> tuple[list[str], dict[str, Any], dict[str, Any]]:
    return [queue], {}, _NOTHING_FOLLOWS


def _headers(queue: str) -> dict[str, Any]:
    """Return the headers of the second version of Celery's protocol, with an id by which tasks are distinguished."""
    own = str(uuid4())
    return {
        "lang": "py",
        "task": WORK_TASK,
        "id": own,
        "root_id": own,
        "parent_id": None,
        "group": None,
        "retries": 0,
        "eta": None,
        "expires": None,
        "shadow": None,
        "timelimit": [None, None],
        "argsrepr": repr([queue]),
        "kwargsrepr": "{}",
        "ignore_result": True,
        "stamped_headers": None,
        "stamps": {},
    }
