"""Worker processes: start them, hold them still while a backlog is laid out, count their CPU, end them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.errors import BenchmarkError
from jobsched.local.service import as_user
from jobsched.shim.users import described, service_user

STOP_WITHIN_SECONDS = 20.0
_GONE = (psutil.NoSuchProcess, psutil.ZombieProcess)


@dataclass(frozen=True, kw_only=True)
class Command:
    """A program that belongs to a contender's workers, and what is added to our environment for it."""

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    dropped: bool = True
    """Started by root it runs as the service user; False: it starts as root and drops by itself."""


class Workers:
    """The processes of one contender, with everything they start."""

    def __init__(self, commands: Iterable[Command], *, cwd: Path, env: Mapping[str, str], log: Path) -> None:
        self._log = log
        self._processes = []
        with log.open("ab") as output:
            for command in commands:
                user = service_user(os.environ) if command.dropped else None
                whole = {**env, **command.env}
                self._processes.append(
                    subprocess.Popen(
                        [*as_user(user), *command.argv],
                        cwd=cwd,
                        env=whole if user is None else described(user, whole),
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                )

    def must_live(self) -> None:
        """Raise BenchmarkError with the end of the log when one of them has ended."""
        for process in self._processes:
            if process.poll() is not None:
                end = self._log.read_text(errors="replace")[-3000:]
                raise BenchmarkError(f"A worker ended with {process.returncode}; the end of its log:\n{end}")

    def hold(self) -> None:
        """Stop all of them where they are."""
        for process in self._tree():
            with suppress(*_GONE):
                process.suspend()

    def release(self) -> None:
        """Let all of them go on."""
        for process in reversed(self._tree()):
            with suppress(*_GONE):
                process.resume()

    def cpu_seconds(self) -> float:
        """Return the CPU time all of them have used, those that have ended included."""
        return cpu_seconds(p.pid for p in self._processes)

    def stop(self) -> None:
        """End them in order; what does not end in time is killed with everything it started."""
        tree = self._tree()
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_WITHIN_SECONDS
        for process in self._processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
        for left in tree:
            with suppress(*_GONE):
                left.kill()
        for process in self._processes:
            process.wait()

    def _tree(self) -> list[psutil.Process]:
        return [found for process in self._processes for found in _family(process.pid)]


def cpu_seconds(roots: Iterable[int]) -> float:
    """Return the CPU time of processes and all their descendants, those included that were waited for."""
    total = 0.0
    for root in roots:
        for process in _family(root):
            with suppress(*_GONE):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
    return total


def _family(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except _GONE:
        return []
