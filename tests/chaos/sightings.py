"""A thread that looks for processes of runs, several times a second: when was the last one of an attempt seen alive?"""

from __future__ import annotations

import os
import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

INTERVAL_SECONDS: Final = 0.2

_RUN: Final = re.compile(rb"(?:\A|\0)JOBSCHED_RUN_ID=(\d+)\0")
_ATTEMPT: Final = re.compile(rb"(?:\A|\0)JOBSCHED_ATTEMPT=(\d+)\0")
_NAMED: Final = re.compile(rb"chaos-(\d+)-(\d+)(?!\d)")
"""For processes that gave up their environment: an argument `chaos-RUN-ATTEMPT`."""

Key = tuple[int, int]
"""A run and the number of its attempt."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sighting:
    """The last time at which a process of an attempt was certainly alive, by two clocks, in seconds."""

    at: float
    """Since the machine started, as in the journal."""
    wall: float
    """Since the epoch, as in the database."""
    pids: tuple[int, ...]


class Watcher:
    """Samples /proc while the experiment runs. What lives shorter than an interval may be missed."""

    def __init__(self) -> None:
        self.seen: dict[Key, Sighting] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watcher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Look once more, then end."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._over.wait(INTERVAL_SECONDS):
            self._look()

    def _look(self) -> None:
        # Before the look: at this moment, or later, each that is found was alive.
        at, wall = uptime(), time.time()
        for key, pids in living().items():
            self.seen[key] = Sighting(at=at, wall=wall, pids=tuple(pids))


def uptime() -> float:
    """Return seconds since the machine started, on the clock of /proc/uptime."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def living(run_id: int | None = None) -> dict[Key, list[int]]:
    """Return the living processes of all runs, or of one. Zombies have no environment and do not count."""
    found: dict[Key, list[int]] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 - a Path for each of hundreds costs more than the walk
        key = _key(entry) if entry.isdigit() else None
        if key is not None and run_id in (None, key[0]):
            found.setdefault(key, []).append(int(entry))
    return found


def _key(entry: str) -> Key | None:
    try:
        environment = Path("/proc", entry, "environ").read_bytes()
        run, attempt = _RUN.search(environment), _ATTEMPT.search(environment)
        if run and attempt:
            return int(run[1]), int(attempt[1])
        named = _NAMED.search(Path("/proc", entry, "cmdline").read_bytes())
    except OSError:  # it ended while we looked, or belongs to somebody else
        return None
    return (int(named[1]), int(named[2])) if named else None
