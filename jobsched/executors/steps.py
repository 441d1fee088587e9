"""Kind `steps`: named commands one after the other in one fresh folder, stopping at the first failure."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from jobsched.domain.errors import InvalidInput
from jobsched.domain.exits import from_exit
from jobsched.domain.outcomes import Assignment, Outcome, Verdict
from jobsched.environment import refused_as_too_long
from jobsched.executor import Context, SectionEnd, required
from jobsched.shim import libc
from jobsched.shim.tree import SubreaperTree

_SHELL: Final = "/bin/sh"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Step:
    name: str
    run: str
    env: Mapping[str, str]
    timeout_seconds: float | None

    @classmethod
    def parse(cls, item: Any, number: int) -> _Step:
        if not isinstance(item, dict):
            raise InvalidInput("must be a mapping with name and run", where=f"step {number}")
        try:
            limit = item.get("timeout_seconds")
            return cls(
                name=required(item, "name", str, default=f"Step {number}"),
                run=required(item, "run", str),
                env=required(item, "env", dict, default={}),
                timeout_seconds=None if limit is None else required(item, "timeout_seconds", (int, float)),
            )
        except InvalidInput as error:
            raise InvalidInput(error.message, where=f"step {number}") from error


class StepsExecutor:
    """Spec: `steps`, a list of `name`, `run`, and optionally `env` and `timeout_seconds`."""

    in_interpreter: ClassVar[bool] = False
    needs_workspace: ClassVar[bool] = True
    # A step in hand gets its grace; the list just does not go on after it.
    ends_by_exception: ClassVar[bool] = False

    def perform(self, work: Assignment, context: Context) -> Outcome:
        items = required(work.spec, "steps", list)
        if not items:
            raise InvalidInput("the job's 'steps' are empty; name at least one")
        steps = [_Step.parse(item, number) for number, item in enumerate(items, 1)]
        # What a step leaves behind becomes ours, so that its own time limit can end all of it.
        libc.become_subreaper()
        context.plan([step.name for step in steps])
        for step in steps:
            outcome = _perform(step, context, work.grace_seconds)
            if outcome.verdict is not Verdict.SUCCEEDED:
                return outcome
        return Outcome(verdict=Verdict.SUCCEEDED, exit_code=0)


def _perform(step: _Step, context: Context, grace_seconds: float) -> Outcome:
    with context.section(step.name) as section:
        arguments, env = [_SHELL, "-c", step.run], {**context.env, **step.env}
        try:
            context.start_work()
            process = subprocess.Popen(arguments, cwd=context.workspace, env=env, start_new_session=True)
        except (OSError, ValueError, TypeError) as error:
            section.verdict = Verdict.FAILED
            why = refused_as_too_long(error, arguments, env) or error
            raise InvalidInput(f"step {step.name!r} cannot be started: {why}") from error
        outcome = _judge(step, process, context, grace_seconds)
        _close(section, outcome)
        return outcome


def _judge(step: _Step, process: subprocess.Popen[bytes], context: Context, grace_seconds: float) -> Outcome:
    if not _ended_within(process, step.timeout_seconds):
        ended_in_grace, code = _end_all(process, grace_seconds)
        how = "ended by SIGTERM" if ended_in_grace else f"killed after {grace_seconds:g} s of grace"
        reason = f"step {step.name!r} ran longer than its limit of {step.timeout_seconds:g} s; {how}"
        return replace(from_exit(code, by_shell=True), verdict=Verdict.TIMED_OUT, reason=reason)
    outcome = from_exit(process.wait(), by_shell=True)
    if context.ending is not None:
        return replace(outcome, verdict=context.ending, reason=f"ended during step {step.name!r}")
    if outcome.verdict is Verdict.SUCCEEDED:
        return outcome
    return replace(outcome, reason=f"step {step.name!r} failed: {outcome.reason}")


def _close(section: SectionEnd, outcome: Outcome) -> None:
    section.verdict, section.exit_code, section.signal = outcome.verdict, outcome.exit_code, outcome.signal


def _end_all(process: subprocess.Popen[bytes], grace_seconds: float) -> tuple[bool, int]:
    """End the step and everything it and the steps before it started.

    Return whether the step ended within its grace, and its exit code, which is -n when signal n ended it.
    """
    statuses: dict[int, int] = {}
    tree = SubreaperTree()
    tree.signal_all(signal.SIGTERM)
    ended = _ended_within(process, grace_seconds)
    tree.kill_all(statuses.__setitem__)
    return ended, os.waitstatus_to_exitcode(statuses[process.pid])


def _ended_within(process: subprocess.Popen[bytes], seconds: float | None) -> bool:
    """Wait for the process, at most so long; it is not reaped."""
    watched = os.pidfd_open(process.pid)
    try:
        poller = select.poll()
        poller.register(watched, select.POLLIN)
        until = None if seconds is None else time.monotonic() + seconds
        return bool(poller.poll(None if until is None else max(0.0, until - time.monotonic()) * 1000))
    finally:
        os.close(watched)
