"""The sentences that say how an attempt ended."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from jobsched.domain.exits import from_exit
from jobsched.domain.outcomes import Assignment, Background, Outcome, Verdict

LEASE_RAN_OUT: Final = "the worker could not renew its lease in time, so the run's processes were killed"
LEASE_LOST: Final = "the worker no longer holds the lease, so the run's processes were killed"
NOT_STARTED_IN_TIME: Final = "its lease ended before its work started, so the work was not started"
LEASE_ENDED_BETWEEN: Final = "its lease ended between two parts of its work, so the rest was not started"
NESTED_TOO_DEEP: Final = "its definition or its parameters are nested too deep to be passed on; nest them less"
SHIM_DIED: Final = (
    "the process that looks after the run's processes was killed; whether the work took effect is unknown"
)
OOM_KILLED: Final = "OOMKilled"
"""The `error` of work that the kernel ended because memory ran out: the name that Kubernetes and Docker have for it."""
BACKGROUND_KILLED: Final = "BackgroundKilled"
"""The `error` of work that would have succeeded, but left processes running."""
_MOST_NAMES: Final = 10
"""Names of processes in one sentence."""
TOO_MUCH_SAID: Final = "sent more than 4 MiB, or something unreadable, as its result"


def why_ending(verdict: Verdict, work: Assignment) -> str:
    """Say why an attempt is being ended before its time."""
    if verdict is Verdict.TIMED_OUT:
        return work.why_timed_out
    if verdict is Verdict.CANCELLED:
        return "cancelled on request"
    return "its worker is stopping"


def how_ended(why: str, *, killed_after_seconds: float | None) -> str:
    """Complete the sentence of `why_ending` with what it took."""
    if killed_after_seconds is None:
        return f"{why}; ended by SIGTERM"
    return f"{why}; killed after {killed_after_seconds:g} s of grace"


def from_wait_status(status: int, *, exit_code_counts: bool) -> Outcome:
    """Judge a process that ended without telling an outcome.

    `exit_code_counts` is true for work that replaced the process (a shell command): there 0 means success.
    """
    code = os.waitstatus_to_exitcode(status)
    if code == 0 and not exit_code_counts:
        return Outcome(verdict=Verdict.FAILED, reason="ended without a result (exit code 0)", exit_code=0)
    return from_exit(code, by_shell=exit_code_counts)


def left_running(outcome: Outcome, *, killed: int, names: Sequence[str], rule: str) -> Outcome:
    """Return the outcome of an attempt whose work ended while `killed` of its processes were still running.

    `names` are those of the processes that are known by name; `rule` is the job's `background`.
    """
    if not killed or rule == Background.IGNORE:
        return outcome
    processes = "1 process was" if killed == 1 else f"{killed} processes were"
    sentence = f"{processes} still running when the work ended, and killed{_listed(names)}"
    if rule == Background.FAIL and outcome.verdict is Verdict.SUCCEEDED:
        reason = f"{sentence} (background: fail)"
        return replace(outcome, verdict=Verdict.FAILED, reason=reason, error=BACKGROUND_KILLED, warning=sentence)
    return replace(outcome, warning=sentence)


def _listed(names: Sequence[str]) -> str:
    counted = Counter(names).most_common()
    shown = [name if count == 1 else f"{name} ({count} times)" for name, count in counted[:_MOST_NAMES]]
    if len(counted) > _MOST_NAMES:
        shown.append("others")
    return f": {', '.join(shown)}" if shown else ""


def may_be_out_of_memory(outcome: Outcome) -> bool:
    """Tell whether the work may have been killed because memory ran out: it failed by SIGKILL."""
    return outcome.verdict is Verdict.FAILED and outcome.signal == signal.SIGKILL


def out_of_memory(outcome: Outcome, kills: int) -> Outcome:
    """Return the outcome of an attempt during which the kernel killed `kills` processes because memory ran out.

    The kernel counts them for the control group of the whole worker, so only work that was ended by SIGKILL is taken
    for one of them.
    """
    if not kills or not may_be_out_of_memory(outcome):
        return outcome
    processes = "a process" if kills == 1 else f"{kills} processes"
    reason = f"{outcome.reason}; out of memory: the kernel killed {processes} of this worker meanwhile"
    return replace(outcome, reason=reason, error=OOM_KILLED)
