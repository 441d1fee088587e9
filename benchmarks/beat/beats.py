"""Beat processes, and what they use."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import psutil

from benchmarks.contenders.base import PROJECT
from benchmarks.processes import Command, Workers

_MEGABYTE = 1_000_000
_NANOSECONDS = 1e9


class Beat(Workers):
    """One beat process."""

    def cpu_exactly(self) -> float:
        """Return its CPU seconds by the kernel's nanosecond count: clock ticks hide a quiet beat."""
        total = 0
        for process in self._processes:
            with suppress(FileNotFoundError, ProcessLookupError):
                for thread in Path(f"/proc/{process.pid}/task").iterdir():
                    total += int((thread / "schedstat").read_text().split()[0])
        return total / _NANOSECONDS

    def pss_mb(self) -> float:
        """Return its proportional set size: shared pages are counted in parts."""
        return sum(psutil.Process(p.pid).memory_full_info().pss for p in self._processes) / _MEGABYTE

    def rss_mb(self) -> float:
        """Return its resident set size."""
        return sum(psutil.Process(p.pid).memory_info().rss for p in self._processes) / _MEGABYTE


class Beats:
    """The beat processes of one contender, started one by one."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._running: list[Beat] = []

    def start(self, command: Command) -> None:
        """Start one more."""
        self._running.append(Beat([command], cwd=PROJECT, env=os.environ, log=self._log))

    def must_live(self) -> None:
        """Raise BenchmarkError with the end of the log when one of them has ended."""
        for beat in self._running:
            beat.must_live()

    def cpu_exactly(self) -> float:
        """Return the CPU seconds of all of them together."""
        return sum(beat.cpu_exactly() for beat in self._running)

    def pss_mb(self) -> float:
        """Return the proportional set size of the largest."""
        return max(beat.pss_mb() for beat in self._running)

    def rss_mb(self) -> float:
        """Return the resident set size of the largest."""
        return max(beat.rss_mb() for beat in self._running)

    def stop(self) -> None:
        """End all of them."""
        while self._running:
            self._running.pop().stop()
