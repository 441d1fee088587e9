"""How a worker takes a hint: as Celery takes a task, without time limits and without a rate limit.

Time limits of a whole worker (CELERY_TASK_TIME_LIMIT, `--time-limit`) are meant for tasks. A hint occupies its slot for
as long as runs take, which have limits of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.worker.strategy import default


def strategy(task: Any, app: Any, consumer: Any, **options: Any) -> Callable[..., Any]:
    """Return what handles the message of a hint. Celery calls this once for each connection to the broker."""
    return default(task, app, _WithoutLimits(consumer), **options)


class _WithoutLimits:
    """A worker's consumer, with a pool that sets no time limits, and without rate limits."""

    disable_rate_limits = True

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self.pool = _PoolWithoutLimits(consumer.pool)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)


class _PoolWithoutLimits:
    def __init__(self, pool: Any) -> None:
        self._pool = pool

    def apply_async(self, *args: Any, **options: Any) -> Any:
        """Send work to a slot. Its limits are removed before the slot has taken it, and nobody has set a timer yet."""
        result = self._pool.apply_async(*args, **{**options, "timeout": None, "soft_timeout": None})
        if result is not None:
            # To billiard, None means the pool's own limit here, and 0 none at all.
            result._timeout = result._soft_timeout = 0
        return result
