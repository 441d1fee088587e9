"""Work for an experiment, given out as it is done: what is lost and comes back finds no long line before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.chaos.stage import Stage


class Feed:
    """Submits `total` runs in all, and lets no more than `backlog` of them be under way.

    What that is may be told by a function; else it is to wait in a queue.
    """

    def __init__(
        self,
        stage: Stage,
        total: int,
        *,
        backlog: int,
        seconds: float | tuple[float, float],
        under_way: Callable[[], int] | None = None,
        **options: Any,
    ) -> None:
        self.left = total
        self._stage = stage
        self._backlog = backlog
        self._under_way = under_way or (lambda: stage.count("queued"))
        self._seconds = seconds
        self._options = options

    def top_up(self) -> bool:
        """Submit what may wait now. Return whether there is more to come."""
        room = min(self.left, self._backlog - self._under_way())
        if room > 0:
            self._stage.submit(room, seconds=self._seconds, **self._options)
            self.left -= room
        return self.left > 0
