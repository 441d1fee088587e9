"""Closes the database connections of a slot that has had nothing to do for a while.

PostgreSQL allows a limited number of connections, and a slot that waits for a hint needs none. Under load a slot is
never idle for long, so it keeps its connection from run to run.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from celery.signals import task_postrun, task_prerun, worker_process_init
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from jobs.conf import conf

logger = logging.getLogger(__name__)


class IdleConnections:
    """Watches one slot in a thread. `begin` and `end` are called around every Celery task of the slot."""

    def __init__(self, *, seconds: float) -> None:
        """After `seconds` without a task, connections are closed: Django's, and those of `also_close`."""
        self._seconds = seconds
        self._others: list[Callable[[], None]] = []
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._tasks = 0
        self._idle_since = 0.0
        self._of_django: Sequence[BaseDatabaseWrapper] = ()
        self._used = threading.Event()

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._watch, name="idle-connections", daemon=True).start()

    def also_close(self, close: Callable[[], None]) -> None:
        """Let `close` close another connection. It is called in the thread, while no task is under way."""
        self._others.append(close)

    def begin(self) -> None:
        """A task begins. Waits while connections are being closed."""
        if os.getpid() == self._pid:  # not in the process of a run, which was forked from the slot
            with self._lock:
                self._tasks += 1

    def end(self) -> None:
        """A task has ended. A task may contain others, which Celery performs eagerly."""
        if os.getpid() == self._pid:
            with self._lock:
                self._tasks -= 1
                self._idle_since = time.monotonic()
                self._of_django = connections.all(initialized_only=True)
            self._used.set()

    def _watch(self) -> None:
        while True:
            self._used.wait()
            time.sleep(self.look())

    def look(self) -> float:
        """Close the connections if the slot has been idle for long. Return in how many seconds to look again."""
        with self._lock:
            if self._tasks > 0:
                return self._seconds
            left = self._idle_since + self._seconds - time.monotonic()
            if left > 0:
                return left
            self._used.clear()
            try:
                for close in self._others:
                    close()
                close_in_this_thread(self._of_django)
            except Exception:  # the connections are then closed by the server, or by the next attempt
                logger.exception("connections of an idle slot not closed")
            return 0.0


def close_in_this_thread(wrappers: Iterable[BaseDatabaseWrapper]) -> None:
    """Close connections of Django's that belong to another thread, which does not use them meanwhile."""
    for wrapper in wrappers:
        if wrapper.in_atomic_block:
            continue
        wrapper.inc_thread_sharing()
        try:
            wrapper.close()
        finally:
            wrapper.dec_thread_sharing()


_idle: IdleConnections | None = None


def also_close(close: Callable[[], None]) -> None:
    """Let `close` close a connection of this slot whenever it has been idle for long. No slot: nothing happens."""
    if _idle is not None:
        _idle.also_close(close)


@worker_process_init.connect
def _start(**_: Any) -> None:
    global _idle
    if seconds := conf().idle_connection.total_seconds():
        _idle = IdleConnections(seconds=seconds)
        _idle.start()


# At import, and so before Celery's own receivers for Django, which close connections that are too old.
@task_prerun.connect
def _begin(**_: Any) -> None:
    if _idle is not None:
        _idle.begin()


@task_postrun.connect
def _end(**_: Any) -> None:
    if _idle is not None:
        _idle.end()
