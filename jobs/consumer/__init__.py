"""The part of a Celery worker that listens to the broker.

Whatever arrives can at most wake a slot, and never ends a worker: what is malformed is rejected, counted and logged
once a minute. Messages for other people's tasks are handled as Celery handles them.
"""

from __future__ import annotations

from jobs.consumer.prompt import PromptConsumer

__all__ = ["PromptConsumer"]
