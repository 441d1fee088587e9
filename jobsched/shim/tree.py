"""Signal and kill everything a run has started, whatever sessions and parents it hides behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from jobsched.shim.killing import kill_processes_of
from jobsched.shim.users import User

Seen = Callable[[int, int], None]
"""Called with the process id and the wait status of each process that is reaped."""

_ROUNDS_OF_STOPPING = 50


class Tree(Protocol):
    """All processes below the calling one."""

    def signal_all(self, number: int) -> None:
        """Send a signal to every one of them."""

    def kill_all(self, seen: Seen) -> None:
        """Kill and reap until none is left."""


class NamespaceTree:
    """For PID 1 of a namespace: the kernel reaches everybody in one call, and nobody can fork meanwhile."""

    def signal_all(self, number: int) -> None:
        try:
            os.kill(-1, number)
        except ProcessLookupError:
            return

    def kill_all(self, seen: Seen) -> None:
        self.signal_all(signal.SIGKILL)
        try:
            while True:
                seen(*os.waitpid(-1, 0))
        except ChildProcessError:
            return


class SubreaperTree:
    """For a child subreaper: orphans become our children, so the end is reached when we have none.

    `job` is the user of all these processes, if no other process has it: the kernel then kills them in one step.
    """

    def __init__(self, job: User | None = None) -> None:
        self._job = job

    def signal_all(self, number: int) -> None:
        for pid in descendants(os.getpid()):
            _send(pid, number)

    def kill_all(self, seen: Seen) -> None:
        if self._job is not None and reap_ended(seen):
            kill_processes_of(self._job)
        while reap_ended(seen):
            for pid in _stopped_descendants():
                _send(pid, signal.SIGKILL)
            # A killed process takes a moment to end; its children are only then ours to see.
            look_again_at = time.monotonic() + 0.1
            while reap_ended(seen) and time.monotonic() < look_again_at:
                time.sleep(0.001)


def _stopped_descendants() -> set[int]:
    """Stop every descendant, looking again until no new one appears, so that a fork bomb stands still."""
    stopped: set[int] = set()
    for _ in range(_ROUNDS_OF_STOPPING):
        fresh = descendants(os.getpid()) - stopped
        if not fresh:
            break
        for pid in fresh:
            _send(pid, signal.SIGSTOP)
        stopped |= fresh
    return stopped


def descendants(ancestor: int) -> set[int]:
    """Return the processes below `ancestor`, from /proc."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 - a Path for each of hundreds costs more than the walk
        if entry.isdigit() and (parent := _parent(entry)) is not None:
            children.setdefault(parent, []).append(int(entry))
    found: set[int] = set()
    waiting = [ancestor]
    while waiting:
        for pid in children.get(waiting.pop(), ()):
            if pid not in found:
                found.add(pid)
                waiting.append(pid)
    return found


def _parent(entry: str) -> int | None:
    try:
        stat = Path("/proc", entry, "stat").read_bytes()
    except OSError:  # ended while we looked
        return None
    # The name stands in parentheses and may itself hold spaces and parentheses.
    return int(stat[stat.rindex(b")") + 2 :].split()[1])


def reap_ended(seen: Seen) -> bool:
    """Reap the children that have ended; return whether any child is left."""
    try:
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return True
            seen(pid, status)
    except ChildProcessError:
        return False


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):  # ended meanwhile, or a set-user-id program
        return
