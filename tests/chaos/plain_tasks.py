"""Other people's PeriodicTasks: they name plain Celery tasks, of which none may get lost on its way."""

from __future__ import annotations

import json
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

from amqp.exceptions import NotFound
from django_celery_beat.models import ClockedSchedule, PeriodicTask

from tests.chaos.broker_control import waiting
from tests.chaos.stage import Stage

_QUEUE: Final = "default"
_SETTLED_SECONDS: Final = 10.0


class PlainTasks:
    """`count` tasks, each due once, spread evenly over the next seconds. Each leaves a line of its own in a file."""

    def __init__(self, stage: Stage, *, count: int, during_seconds: float) -> None:
        self.count = count
        self._stage = stage
        self._file = stage.folder / "plain-tasks"
        self._words = {f"task-{number}" for number in range(count)}
        begin = datetime.now(UTC) + timedelta(seconds=2)
        moments = [begin + timedelta(seconds=during_seconds * number / count) for number in range(count)]
        clocked = ClockedSchedule.objects.bulk_create([ClockedSchedule(clocked_time=moment) for moment in moments])
        PeriodicTask.objects.bulk_create(
            PeriodicTask(
                name=word, task="chaos.note", args=json.dumps([str(self._file), word]), clocked=when, one_off=True
            )
            for word, when in zip(sorted(self._words), clocked, strict=True)
        )

    def missing(self) -> set[str]:
        """Return those that have not been performed."""
        return self._words - set(self._done())

    def doubled(self) -> int:
        """Return how many were performed more than once: a publish whose confirm was lost is repeated."""
        return sum(times > 1 for times in self._done().values())

    def wait_until_done(self, timeout: float) -> None:
        """Wait until each was performed or is lost: sent, and not in a queue any more."""
        self._stage.wait_for(
            lambda: not self.missing() or self._all_sent_and_settled(), timeout=timeout, what="the plain Celery tasks"
        )

    def _all_sent_and_settled(self) -> bool:
        unsent = self._stage.query(
            "SELECT 1 FROM django_celery_beat_periodictask WHERE clocked_id IS NOT NULL AND enabled LIMIT 1"
        )
        if unsent:
            return False
        before = sum(self._done().values())
        time.sleep(_SETTLED_SECONDS)
        return sum(self._done().values()) == before and not self._waiting_in_broker()

    def _waiting_in_broker(self) -> bool:
        """Tell whether RabbitMQ holds messages: workers may take their time to come back to it."""
        with suppress(NotFound):
            return waiting(self._stage.broker_url, _QUEUE) > 0
        return False

    def _done(self) -> Counter[str]:
        return Counter(self._file.read_text().split()) if self._file.exists() else Counter()
