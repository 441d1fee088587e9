"""The part of a Celery worker that listens to the broker."""

from __future__ import annotations

from functools import partial
from typing import Any

from celery.worker.consumer import Consumer

RETRY_SECONDS = 5.0
"""How long a worker waits at most between two attempts to reach a broker that is away."""


class PromptConsumer(Consumer):
    """Comes back soon after its broker. Celery's own waits longer after each attempt, up to half a minute."""

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, and try again until that works."""
        conn.ensure_connection = partial(conn.ensure_connection, interval_max=RETRY_SECONDS)
        return super().ensure_connected(conn)
