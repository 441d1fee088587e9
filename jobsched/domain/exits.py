"""The one rule for how a process ended: 0 is success, a signal counts as such and as the exit code 128 + n."""

from __future__ import annotations

from jobsched.domain import signals
from jobsched.domain.outcomes import Outcome, Verdict


def from_exit(code: int, *, by_shell: bool) -> Outcome:
    """Return the outcome of a process by its exit code, which is -n when signal n ended it.

    A shell answers 128 + n when signal n ended what it ran, and ends by the signal itself when it has replaced itself
    by the command. With `by_shell`, both give the same signal and the same exit code.
    """
    if code == 0:
        return Outcome(verdict=Verdict.SUCCEEDED, exit_code=0)
    if code < 0:
        return Outcome(
            verdict=Verdict.FAILED,
            reason=f"killed by {signals.signal_name(-code)}",
            exit_code=signals.exit_code_of(-code),
            signal=-code,
        )
    number = signals.reported_by_shell(code) if by_shell else None
    meaning = f", which from a shell means {signals.signal_name(number)}" if number is not None else ""
    return Outcome(verdict=Verdict.FAILED, reason=f"exit code {code}{meaning}", exit_code=code, signal=number)
