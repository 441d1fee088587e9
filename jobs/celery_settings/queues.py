"""The queues that workers declare for hints."""

from __future__ import annotations

from typing import Any

from kombu import Exchange, Queue


def queue_of(app: Any, name: str) -> Queue:
    """Return the queue of this name as the project declares it, or else a plain one.

    CELERY_TASK_CREATE_MISSING_QUEUES is for the queues of tasks: without it Celery knows no others than those of
    CELERY_TASK_QUEUES.
    """
    try:
        found: Queue = app.amqp.queues[name]
    except KeyError:
        return Queue(name, Exchange(name), routing_key=name)
    return found
