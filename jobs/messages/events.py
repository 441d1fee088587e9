"""Events for Flower."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from celery import current_app

from jobs.messages import channels
from jobs.messages.channels import BROKER_ERRORS, SHORT_PATIENCE_SECONDS

logger = logging.getLogger(__name__)

SILENCE_SECONDS: Final = 10.0
"""How long events are held back after the broker failed to take one, so that runs do not wait for it."""


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
            with channels.bounded(dispatcher.connection, SHORT_PATIENCE_SECONDS):
                dispatcher.flush()
        except BROKER_ERRORS:
            dispatcher.connection.collect()
            raise
