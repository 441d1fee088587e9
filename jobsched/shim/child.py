"""The life of a run's own process, from the fork to its exit."""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

from jobsched import registry
from jobsched.domain.errors import CancelRequested, InvalidInput, TimeLimitExceeded, WorkerStopping
from jobsched.domain.outcomes import Assignment, Outcome, Verdict
from jobsched.executors.base import Context
from jobsched.executors.environment import identity
from jobsched.shim import libc
from jobsched.shim.control import Control

_RAISED = {
    Verdict.TIMED_OUT: TimeLimitExceeded("the time limit of this run is reached"),
    Verdict.CANCELLED: CancelRequested("this run was cancelled"),
    Verdict.HANDED_BACK: WorkerStopping("the worker of this run is stopping"),
}


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


def live(terminal: Terminal, output: int, control: int, folder: str | None, after_fork: Callable[[], None]) -> NoReturn:
    """Perform the run that the slot describes over `control`, tell the outcome, and exit."""
    code = 1
    try:
        terminal.attach(output)
        talk = Control(control)
        me = os.getpid()
        outcome = _perform(Assignment.from_json(talk.receive()), talk, folder, after_fork)
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


def _perform(work: Assignment, control: Control, folder: str | None, after_fork: Callable[[], None]) -> Outcome:
    context = Context(work=work, control=control, workspace=Path(folder) if folder else None)
    try:
        executor = registry.executor(work.kind)
        _heed_ending(context, raises=executor.ends_by_exception)
        if executor.in_interpreter:
            # The project's own code keeps the environment of its process; the job's is added to it.
            os.environ.update(work.env)
            os.environ.update(identity(work))
            after_fork()
        return executor.perform(work, context)
    except InvalidInput as error:
        return Outcome(verdict=Verdict.FAILED, reason=str(error), error="InvalidInput", no_retry=True)
    except tuple(type(error) for error in _RAISED.values()) as error:
        return Outcome(verdict=Verdict.FAILED, reason=str(error), error=type(error).__name__)
    except BaseException as error:
        traceback.print_exc()
        reason = f"{type(error).__name__}: {error}"
        return Outcome(verdict=Verdict.FAILED, reason=reason, error=type(error).__name__)
    finally:
        context.judged = True


def _heed_ending(context: Context, *, raises: bool) -> None:
    """On SIGTERM from the shim, raise what fits the reason the slot gave, or only note it."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        ending = context.control.ending()
        if ending is None:  # not from us: do what SIGTERM does
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
            return
        context.ending = ending
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if raises and not context.judged:
            raise _RAISED[ending]

    signal.signal(signal.SIGTERM, handle)
