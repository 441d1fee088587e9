"""Messages out: hints to workers, events to Flower, and plain Celery tasks of other people's schedules."""

from __future__ import annotations

from jobs.messages.channels import BROKER_ERRORS, reachable
from jobs.messages.confirming import Confirming
from jobs.messages.events import Event, Events
from jobs.messages.hints import hint, hint_on_commit, look
from jobs.messages.plain import send_many
from jobs.messages.taskmessage import TaskMessage, Unsent

__all__ = [
    "BROKER_ERRORS",
    "Confirming",
    "Event",
    "Events",
    "TaskMessage",
    "Unsent",
    "hint",
    "hint_on_commit",
    "look",
    "reachable",
    "send_many",
]
