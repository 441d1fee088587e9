"""Two ways to see what fired: the runs in the database, and the messages that arrive in a queue."""

from __future__ import annotations

import json
import threading
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import psycopg
from celery import Celery
from kombu import Connection, Message
from kombu.exceptions import KombuError

from benchmarks.errors import BenchmarkError

_POLL_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Fire:
    """One fire of a schedule. Moments are seconds since the epoch, by the database's clock."""

    schedule: int
    fired_at: float
    due_at: float | None
    """Known for runs; a message does not say which instant it stands for."""


class Fires(ABC):
    """What fired since the last `clear`."""

    @abstractmethod
    def clear(self) -> None:
        """Forget all fires so far."""

    @abstractmethod
    def reached(self, count: int) -> bool:
        """Tell whether there are as many. Cheap, as it is asked often while others are measured."""

    @abstractmethod
    def seen(self) -> list[Fire]:
        """Return all of them."""

    def close(self) -> None:  # noqa: B027 - nothing to do where nothing was opened
        """Stop to watch."""

    def wait_for(self, count: int, *, within: float) -> bool:
        """Wait until there are `count`, and tell whether there were in time."""
        deadline = time.monotonic() + within
        while not self.reached(count):
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def by_schedule(self) -> dict[int, list[float]]:
        """Return the moments at which each schedule fired."""
        moments = defaultdict(list)
        for fire in self.seen():
            moments[fire.schedule].append(fire.fired_at)
        return dict(moments)


class RunFires(Fires):
    """Runs of jobs, by the moment the database gave them; they are counted once they are committed."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self.clear()

    def clear(self) -> None:
        row = self._connection.execute("SELECT coalesce(max(id), 0) FROM jobs_run").fetchone()
        self._after = row[0] if row else 0

    def reached(self, count: int) -> bool:
        # The highest number is found at once; all are counted only when there may be as many.
        row = self._connection.execute(
            "SELECT CASE WHEN max(id) >= %(after)s + %(count)s "
            "THEN (SELECT count(*) FROM jobs_run WHERE id > %(after)s) >= %(count)s END FROM jobs_run",
            {"after": self._after, "count": count},
        ).fetchone()
        return bool(row and row[0])

    def seen(self) -> list[Fire]:
        return [
            Fire(schedule, float(fired), float(due))
            for schedule, fired, due in self._connection.execute(
                "SELECT schedule_id, extract(epoch FROM created_at), extract(epoch FROM scheduled_for) FROM jobs_run "
                "WHERE id > %s AND state = 'queued' AND scheduled_for IS NOT NULL",
                [self._after],
            )
        ]


class MessageFires(Fires):
    """Messages that arrive in a queue, stamped on arrival by a thread that consumes them."""

    def __init__(self, broker_url: str, queue: str, *, clock_ahead: float) -> None:
        """`clock_ahead` is by how many seconds the database's clock is ahead of ours."""
        self._url, self._name, self._ahead = broker_url, queue, clock_ahead
        self._arrived: list[tuple[float, Message]] = []
        self._ready, self._ending = threading.Event(), threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._consume, daemon=True)
        self._thread.start()
        self._ready.wait(10)
        self._must_work()

    def clear(self) -> None:
        self._arrived = []

    def reached(self, count: int) -> bool:
        self._must_work()
        return len(self._arrived) >= count

    def seen(self) -> list[Fire]:
        return [Fire(_schedule_of(message), stamp + self._ahead, None) for stamp, message in list(self._arrived)]

    def close(self) -> None:
        self._ending.set()
        self._thread.join(10)

    def _consume(self) -> None:
        try:
            with Connection(self._url) as connection:
                # Declared as Celery itself would, or the broker would refuse one of the two.
                queue = Celery(broker=self._url, set_as_current=False).amqp.queues[self._name]
                with connection.Consumer([queue], on_message=self._stamp, no_ack=True):
                    self._ready.set()
                    while not self._ending.is_set():
                        try:
                            connection.drain_events(timeout=0.2)
                        except TimeoutError:
                            continue
        except (KombuError, OSError) as error:
            self._failure = error
            self._ready.set()

    def _stamp(self, message: Message) -> None:
        self._arrived.append((time.time(), message))

    def _must_work(self) -> None:
        if self._failure is not None:
            raise BenchmarkError(f"The messages in {self._name} cannot be counted: {self._failure}")


def _schedule_of(message: Message) -> int:
    """Read the first argument: the schedule's number. A body holds positional and keyword arguments, and options."""
    # It is JSON; kombu's stubs know it as something that may not be there.
    (number, *_), *_ = json.loads(cast("str", message.body))
    return int(number)


def in_window(fires: Sequence[Fire], start: float, seconds: float) -> list[Fire]:
    """Return those that fired within `seconds` from `start` on."""
    return [fire for fire in fires if start <= fire.fired_at < start + seconds]
