"""Kind `python`: a callable of the project, with JSON parameters in and a JSON result out."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, ClassVar, Final

from jobsched.callables import accepted, resolve
from jobsched.domain.errors import InvalidInput
from jobsched.domain.outcomes import Assignment, Outcome, Verdict
from jobsched.executor import Context, required
from jobsched.failures import failure, print_failure, print_line, text_of
from jobsched.shim.control import beyond_limits, unstorable

_PLAIN: Final = (type(None), bool, int)
"""Results that need no look at whether they are JSON."""


class PythonExecutor:
    """Spec: `call`, a registered name or `package.module:function`."""

    in_interpreter: ClassVar[bool] = True
    needs_workspace: ClassVar[bool] = False
    ends_by_exception: ClassVar[bool] = True

    def perform(self, work: Assignment, context: Context) -> Outcome:
        function = resolve(required(work.spec, "call", str)).function
        params = accepted(function, work)
        context.start_work()
        return invoke(function, params)


def perform_in_process(work: Assignment, *, start_work: Callable[[], None]) -> Outcome:
    """Call a trusted callable in this very process: no time limit, no capture, no protection.

    `start_work` is called immediately before the callable; what it raises is raised here, and the callable is not
    called.
    """
    try:
        function = resolve(required(work.spec, "call", str)).function
    except InvalidInput as error:
        return Outcome(verdict=Verdict.FAILED, reason=str(error), error="InvalidInput", no_retry=True)
    except Exception as error:  # raised by the callable's module while it was imported
        return _failed(error)
    params = accepted(function, work)
    start_work()
    outcome = invoke(function, params)
    if isinstance(outcome.result, _PLAIN):
        return outcome
    try:
        problem = beyond_limits(json.dumps(outcome.result, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        return unstorable(f"its result cannot be stored as JSON: {error}")
    return unstorable(problem) if problem else outcome


def invoke(function: Callable[..., Any], params: dict[str, Any]) -> Outcome:
    """Call a function and judge how it ended. What stops the worker itself (KeyboardInterrupt) is let through.

    Not every failure is an Exception: a cancelled coroutine's is not, nor are those of some libraries' time limits.
    """
    try:
        return Outcome(verdict=Verdict.SUCCEEDED, result=function(**params))
    except SystemExit as error:
        return _exited(error)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return _failed(error)


def _failed(error: BaseException) -> Outcome:
    # The first frame is this module's, which tells the reader nothing.
    shown = error.__traceback__.tb_next if error.__traceback__ else None
    print_failure(error, shown)
    return failure(error)


def _exited(error: SystemExit) -> Outcome:
    if error.code is None or error.code == 0:
        return Outcome(verdict=Verdict.SUCCEEDED, exit_code=0)
    # A process keeps eight bits of it; what they make of a failure is never a success.
    code = error.code & 0xFF or 0xFF if isinstance(error.code, int) else 1
    if not isinstance(error.code, int):
        print_line(text_of(error.code))
    return Outcome(verdict=Verdict.FAILED, reason=f"exit code {code}", exit_code=code, error="SystemExit")
