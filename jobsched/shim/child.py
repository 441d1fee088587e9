"""A run's own process, from the fork to its exit."""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from jobsched.domain.outcomes import Outcome, Verdict
from jobsched.shim import capabilities, libc, run_folder
from jobsched.shim.control import Control
from jobsched.shim.lease import Lease
from jobsched.shim.users import NO_HOME, SlotUsers, become_run


def _nothing() -> None:
    return


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What the processes of runs do."""

    perform: Callable[[Control, Path | None, Lease], Outcome]
    """Called in each: receive the assignment from the slot, perform it in the given folder while the lease allows its
    start, and return the outcome."""
    prepare: Callable[[], None] = _nothing
    """Called once in a shim, before its first run. Runs are forked from the shim, and so inherit what this does."""


class Entry:
    """How a run's process leaves its shim. Made once in the shim, because making streams costs time."""

    def __init__(self, *, mine: tuple[int, ...], users: SlotUsers | None) -> None:
        self._mine = mine
        self._users = users
        self._out, self._err = _stream(1), _stream(2)

    def leave_shim(self, output: int, folder: str | None) -> None:
        """Take `output` as standard output and error, a session of its own, and the user of runs: without any right."""
        os.setsid()
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        for number in self._mine:
            os.close(number)
        sys.stdout, sys.stderr = self._out, self._err
        if self._users is None:
            capabilities.give_up()
        else:
            become_run(self._users.job)
            _describe_user(self._users.job.uid, folder)
        libc.die_with_parent(signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def flush(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):  # closed or replaced by the work
                continue


def _stream(number: int) -> io.TextIOWrapper:
    raw = io.FileIO(number, "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", errors="backslashreplace", line_buffering=True)


def _describe_user(uid: int, folder: str | None) -> None:
    """The user of runs is in no list of accounts; its home is the run's folder.

    It has a name of its own all the same: pytest and other programs name folders in /tmp after the user, and would
    find there those of another slot, which they may not use.
    """
    home = run_folder.workspace_in(folder) if folder else NO_HOME
    os.environ.update(HOME=home, USER=f"job{uid}", LOGNAME=f"job{uid}")


def _perform(talk: Control, folder: str | None, work: Work, lease: Lease) -> Outcome:
    try:
        workspace = run_folder.lay_out(folder) if folder else None
    except OSError as error:
        return Outcome(verdict=Verdict.HANDED_BACK, reason=f"no folder can be made for the run: {error.strerror}")
    return work.perform(talk, workspace, lease)


def live(entry: Entry, output: int, control: int, folder: str | None, work: Work, lease: Lease) -> NoReturn:
    """Do the work, send its outcome over `control`, and exit."""
    code = 1
    try:
        entry.leave_shim(output, folder)
        talk = Control(control)
        me = os.getpid()
        outcome = _perform(talk, folder, work, lease)
        entry.flush()
        # A copy that the work forked and let return to here sends nothing.
        if os.getpid() == me:
            talk.tell(outcome)
            code = 0
    except BaseException:
        traceback.print_exc()
        entry.flush()
    finally:
        # No exit handlers: those of the slot's program were inherited, and they belong to the slot.
        os._exit(code)
