"""What a run's process does with its assignment."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType

from jobsched import registry
from jobsched.domain.errors import CancelRequested, InvalidInput, TimeLimitExceeded, WorkerStopping
from jobsched.domain.outcomes import Assignment, Outcome, Verdict
from jobsched.engine import finishing, reasons
from jobsched.environment import for_trusted_code, identity
from jobsched.executor import Context
from jobsched.failures import failure, print_failure, text_of
from jobsched.hidden_settings import HiddenSettings, forget
from jobsched.shim.child import Work
from jobsched.shim.control import Control
from jobsched.shim.lease import Lease, LeaseEnded

_RAISED = {
    Verdict.TIMED_OUT: TimeLimitExceeded("the time limit of this run is reached"),
    Verdict.CANCELLED: CancelRequested("this run was cancelled"),
    Verdict.HANDED_BACK: WorkerStopping("the worker of this run is stopping"),
}


def make_work(*, after_fork: Callable[[], None], hidden: HiddenSettings) -> Work:
    """Return what shims prepare and their runs do.

    `hidden` says which environment variables a shim removes from itself before its first run. `after_fork` is called in
    each run's process before the project's own code.
    """
    return Work(perform=partial(perform, after_fork=after_fork), prepare=partial(forget, hidden.hides))


def perform(
    control: Control,
    workspace: Path | None,
    lease: Lease,
    *,
    after_fork: Callable[[], None],
) -> Outcome:
    """Perform the assignment that comes over `control`. Every way it can end is an Outcome."""
    try:
        work = Assignment.from_json(control.receive())
    except RecursionError:
        return Outcome(verdict=Verdict.FAILED, reason=reasons.NESTED_TOO_DEEP, no_retry=True)
    context = Context(work=work, control=control, workspace=workspace, lease=lease)
    try:
        executor = registry.executor(work.kind)
        _handle_sigterm(context, raises=executor.ends_by_exception)
        if executor.in_interpreter:
            # The project's own code keeps the rest of its process's environment; the job's is added to it.
            os.environ.update(for_trusted_code(work.env, os.environ))
            os.environ.update(identity(work))
            after_fork()
            finishing.forget_inherited()
        lease.check()
        try:
            return executor.perform(work, context)
        finally:
            if executor.in_interpreter:
                finishing.finish(asked_to_end=context.ending is not None)
    except LeaseEnded:
        if context.started:
            return Outcome(verdict=Verdict.LOST, reason=reasons.LEASE_ENDED_BETWEEN)
        return Outcome(verdict=Verdict.HANDED_BACK, reason=reasons.NOT_STARTED_IN_TIME)
    except InvalidInput as error:
        return Outcome(verdict=Verdict.FAILED, reason=str(error), error="InvalidInput", no_retry=True)
    except tuple(type(error) for error in _RAISED.values()) as error:
        return Outcome(verdict=Verdict.FAILED, reason=text_of(error), error=type(error).__name__)
    except BaseException as error:
        print_failure(error, error.__traceback__)
        return failure(error)
    finally:
        context.judged = True


def _handle_sigterm(context: Context, *, raises: bool) -> None:
    """Let SIGTERM from the shim raise the exception for the reason that the slot gave, or only note the reason."""

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
