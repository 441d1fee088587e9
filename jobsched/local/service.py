"""What the local stack knows about one process: how to start it, when it is ready, how it is stopped."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from jobsched.domain.errors import JobschedError
from jobsched.shim.users import User


class StartFailed(JobschedError):
    """A process of the local stack ended, or did not become ready in time."""


def _nothing() -> None:
    return None


@dataclass(frozen=True, kw_only=True)
class Service:
    """One process. `env` is its whole environment; secrets go there or into files, never into `argv`."""

    name: str
    argv: tuple[str, ...]
    """The program and its arguments."""
    env: Mapping[str, str]
    cwd: Path
    log: Path
    user: User | None = None
    """Who the process is; None: who starts it."""
    is_ready: Callable[[], bool] | None = None
    """Asks the process itself, e.g. by a connection; must answer quickly and not raise."""
    ready_text: bytes | None = None
    """A text in its log that says so, for processes that listen nowhere."""
    before_start: Callable[[], None] = field(default=_nothing)
    """Runs before each start, also before a restart; slow work is allowed."""
    ready_within: timedelta = timedelta(seconds=60)
    stop_signal: signal.Signals = signal.SIGTERM
    grace: timedelta = timedelta(seconds=15)
    """How long it may take to stop before it is killed."""

    @property
    def command(self) -> list[str]:
        """The words that start the process, for a process that has its user already. It ends with its parent thread."""
        limits = () if self.user is None else ("--no-new-privs",)
        return ["setpriv", *limits, "--pdeathsig=KILL", "--", *self.argv]

    @property
    def identity(self) -> dict[str, Any]:
        """The user of the process, as arguments of `subprocess`. Nothing runs as root with the environment of `env`."""
        if self.user is None:
            return {}
        return {"user": self.user.uid, "group": self.user.gid, "extra_groups": []}


def as_user(user: User | None) -> tuple[str, ...]:
    """Return the words to put before a command that runs as `user`, without capabilities; None changes no user."""
    if user is None:
        return ()
    return ("setpriv", f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups", "--no-new-privs", "--")


def log_tail(log: Path, *, offset: int = 0, lines: int = 12) -> str:
    """Return the last lines that were written to `log` after `offset` bytes."""
    return "\n".join(text_since(log, offset).decode(errors="replace").splitlines()[-lines:])


def text_since(log: Path, offset: int) -> bytes:
    """Return what was written to `log` after `offset` bytes; nothing while the file does not exist."""
    try:
        with log.open("rb") as file:
            file.seek(offset)
            return file.read()
    except FileNotFoundError:
        return b""


def is_ready(service: Service, offset: int) -> bool:
    """Tell whether `service`, whose log had `offset` bytes when it was started, is ready. May take seconds."""
    if service.ready_text is not None and service.ready_text not in text_since(service.log, offset):
        return False
    return service.is_ready is None or service.is_ready()
