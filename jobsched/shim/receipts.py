"""Which processes of a run were alive when it was ended, and how each of them ended."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any, Final

from jobsched.domain.signals import signal_name
from jobsched.shim.tree import descendants

_MOST: Final = 100
"""Processes that are reported of one run: enough to recognise it, few enough for one packet."""


class Receipts:
    """Records which processes there are, and how they end. One for each run."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._ended: dict[int, int] = {}
        self._asked = False

    def note(self, *, asked_to_end: bool = False) -> None:
        """Record which processes are alive now. With `asked_to_end`, a SIGTERM to all of them follows."""
        self._asked = self._asked or asked_to_end
        if len(self._names) < _MOST and _proc_is_ours():
            for pid in sorted(descendants(os.getpid()) - self._names.keys()):
                if len(self._names) < _MOST and (name := _name(pid)) is not None:
                    self._names[pid] = name

    def seen(self, pid: int, status: int) -> None:
        """Record how a process has ended."""
        if pid in self._names:
            self._ended[pid] = status

    def entries(self) -> list[dict[str, Any]]:
        """Return what became of the recorded processes: entries of `jobsched.domain.outcomes.Ended`, as JSON."""
        return [{"pid": pid, "name": name, "ended": self._how(pid)} for pid, name in self._names.items()]

    def _how(self, pid: int) -> str:
        if pid in self._ended:
            code = os.waitstatus_to_exitcode(self._ended[pid])
            return f"exit code {code}" if code >= 0 else signal_name(-code)
        # Its parent, another process of the run, has reaped it.
        return f"ended after {signal_name(signal.SIGTERM)}" if self._asked else "ended"


def _proc_is_ours() -> bool:
    """Tell whether /proc shows processes by the numbers of our PID namespace. In some containers it does not."""
    try:
        return os.readlink("/proc/self") == str(os.getpid())  # noqa: PTH115 - read for every run that is ended
    except OSError:
        return False


def _name(pid: int) -> str | None:
    """Return the name of a process that is alive: never its arguments, which may hold secrets."""
    try:
        stat = Path("/proc", str(pid), "stat").read_bytes()
    except OSError:
        return None
    name, rest = stat[stat.index(b"(") + 1 : stat.rindex(b")")], stat[stat.rindex(b")") + 2 :]
    return None if rest.startswith(b"Z") else name.decode(errors="replace")
