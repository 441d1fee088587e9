"""Real processes of ours for tests: workers, beats, the web process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any, TypeVar

from jobsched.local.servers import Server
from jobsched.local.service import Service

Found = TypeVar("Found")


def wait_for(condition: Callable[[], Found], *, timeout: float = 30.0, what: str = "") -> Found:
    """Call `condition` until what it returns counts as true, and return that. Fails after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"{what or condition} did not come about within {timeout:g} s; last: {found!r}")
        time.sleep(0.05)


class Process(Server):
    """One process of ours, started and ready. `stop()` is a warm shutdown; `kill()` ends it and its children."""

    def __init__(self, service: Service, url: str = "") -> None:
        super().__init__(url, [service])
        self.name = service.name
        self._log = service.log

    def log(self) -> str:
        """Return everything it has written so far."""
        return self._log.read_text(errors="replace")

    def is_running(self) -> bool:
        """Tell whether the main process lives. One that ended by itself stays to be cleared away by `kill`."""
        return self._processes[-1].poll() is None

    def kill_alone(self) -> None:
        """Kill the main process only, as an out-of-memory killer would; its children are left to themselves."""
        os.kill(self.pid, signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the main process."""
        os.kill(self.pid, number)

    def __enter__(self) -> Process:
        self.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.kill()
