"""A run's own process, from the fork to its exit."""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from jobsched.domain.outcomes import Outcome
from jobsched.shim import libc
from jobsched.shim.control import Control
from jobsched.shim.lease import Lease

Work = Callable[[Control, Path | None, Lease], Outcome]
"""What a run's process does: receive the assignment from the slot, perform it in the given folder while the lease
allows its start, and return the outcome."""


class Terminal:
    """Standard output and error for a run. Made once in the shim, because making streams costs time."""

    def __init__(self, *, mine: tuple[int, ...], tie_to_parent: bool) -> None:
        self._mine = mine
        self._tie = tie_to_parent
        self._out, self._err = _stream(1), _stream(2)

    def attach(self, output: int) -> None:
        """Make `output` the standard output and error of this process, in a session of its own."""
        if self._tie:
            libc.die_with_parent(signal.SIGKILL)
            signal.set_wakeup_fd(-1)
        os.setsid()
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        for number in self._mine:
            os.close(number)
        sys.stdout, sys.stderr = self._out, self._err

    def flush(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):  # closed or replaced by the work
                continue


def _stream(number: int) -> io.TextIOWrapper:
    raw = io.FileIO(number, "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", errors="backslashreplace", line_buffering=True)


def live(terminal: Terminal, output: int, control: int, folder: str | None, work: Work, lease: Lease) -> NoReturn:
    """Do the work, tell its outcome over `control`, and exit."""
    code = 1
    try:
        terminal.attach(output)
        talk = Control(control)
        me = os.getpid()
        outcome = work(talk, Path(folder) if folder else None, lease)
        terminal.flush()
        # A copy that the work forked and let return to here has nothing to say.
        if os.getpid() == me:
            talk.tell(outcome)
            code = 0
    except BaseException:
        traceback.print_exc()
        terminal.flush()
    finally:
        # No exit handlers: those of the slot's program were inherited, and they belong to the slot.
        os._exit(code)
