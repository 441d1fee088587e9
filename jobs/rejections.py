"""Counts the messages that a worker rejects, in its main process.

The event loop counts; a thread reports, so that nothing in the loop waits for the log or for the database. It reports
the first rejection at once, and what follows once a minute.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

logger = logging.getLogger(__name__)

REPORT_SECONDS: Final = 60.0
_DETAIL_CHARACTERS: Final = 200


class Reason(StrEnum):
    """Why a message was rejected."""

    UNREADABLE = "its body or its headers cannot be read"
    NO_TASK = "it names no task"
    UNKNOWN_TASK = "no task of this name is registered"
    BAD_TASK = "its headers or arguments are not those of a task"
    BAD_HINT = "it names the task that wakes workers and is no hint"
    NO_SLOTS = "it is a hint, and this worker has no slots"
    BAD_COMMAND = "it is no remote-control command"
    BAD_EVENT = "it is no worker event"


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """Rejections that are counted together."""

    queue: str
    reason: Reason


Counts = Mapping[Kind, int]
Record = Callable[[Counts], None]
"""Store counts. Whatever it raises, the counts are offered again with the next report."""


class Rejections:
    """The counts of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._unlogged: dict[Kind, int] = {}
        self._unrecorded: dict[Kind, int] = {}
        self._last = ""
        self._any = threading.Event()
        self._stopped = threading.Event()

    def count(self, queue: str, reason: Reason, detail: object) -> None:
        """Count one rejected message. `detail` is shown in the log, shortened, for the last one of each minute."""
        kind = Kind(queue=queue[:255], reason=reason)
        with self._lock:
            for counts in (self._unlogged, self._unrecorded):
                counts[kind] = counts.get(kind, 0) + 1
            self._last = f"{detail!r:.{_DETAIL_CHARACTERS}}"
        self._any.set()

    def start(self, record: Record) -> None:
        """Start the thread that reports."""
        threading.Thread(target=self._report_for_ever, args=(record,), name="rejections", daemon=True).start()

    def stop(self, record: Record) -> None:
        """Report what is left."""
        self._stopped.set()
        self.report(record)

    def report(self, record: Record) -> None:
        """Log and record what was counted since the last report."""
        with self._lock:
            unlogged, self._unlogged = self._unlogged, {}
            unrecorded, self._unrecorded = self._unrecorded, {}
            last = self._last
        for kind, count in unlogged.items():
            logger.warning("messages rejected queue=%r count=%d why=%s last=%s", kind.queue, count, kind.reason, last)
        if not unrecorded:
            return
        try:
            record(unrecorded)
        except Exception as error:  # the worker goes on, whatever is wrong with its database
            logger.warning("count of rejected messages not recorded, trying again error=%s", error)
            with self._lock:
                for kind, count in unrecorded.items():
                    self._unrecorded[kind] = self._unrecorded.get(kind, 0) + count
            self._any.set()

    def _report_for_ever(self, record: Record) -> None:
        while not self._stopped.is_set():
            self._any.wait()
            self._any.clear()
            self.report(record)
            self._stopped.wait(REPORT_SECONDS)


rejections: Final = Rejections()
