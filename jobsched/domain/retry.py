"""Whether an attempt that did not succeed is followed by another, and when. A value comes out; nothing is done."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, assert_never

from pydantic import Field, model_validator

from jobsched.domain import durations
from jobsched.domain.fieldtypes import Byte, Duration, Status, Strict
from jobsched.domain.outcomes import Outcome, Verdict

LOST_RETRIES: Final = 3
"""A job that is safe to repeat is repeated after losing its worker even if it asks for no retries; a job that
takes its workers down with it must still come to an end."""

_MOST_DOUBLINGS: Final = 60
"""2**60 of the shortest duration is beyond the longest; more would overflow a float in the end."""


class OnLost(StrEnum):
    """What becomes of a run whose worker was lost, when nobody can know whether the work took effect."""

    RETRY = "retry"
    """Effects happen at least once."""
    FAIL = "fail"
    """Effects happen at most once."""


Failure = Literal["failed", "timed_out", "lost"]


class RetryPolicy(Strict):
    """Which failures are tried again, how often and how soon."""

    max: Annotated[int, Field(ge=0, le=1000)] = 0
    """How many attempts may follow the first."""
    backoff: Duration = timedelta(seconds=10)
    """The wait before the second attempt. `strategy` says how it grows from there."""
    strategy: Literal["exponential", "linear", "fixed"] = "exponential"
    """The wait doubles with each attempt (exponential), grows by `backoff` (linear), or stays (fixed)."""
    jitter: bool | None = None
    """Wait a random part of that time, any part being equally likely, so that runs that failed together do not come
    back together. Unset, exponential waits do so, linear and fixed ones do not."""
    max_backoff: Duration = timedelta(hours=1)
    """The wait never grows beyond this."""
    failures: Annotated[tuple[Failure, ...], Field(strict=False, min_length=1)] = ("failed", "timed_out", "lost")
    """What is tried again: attempts that failed, that ran out of time, that were lost with their worker."""
    exit_codes: Annotated[tuple[Byte, ...], Field(strict=False, min_length=1)] | None = None
    """Of failed attempts, only those that ended with one of these exit codes."""
    exceptions: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] | None = None
    """Of failed attempts, only those that raised one of these exceptions or a subclass: a class name, alone or with its
    module."""
    statuses: Annotated[tuple[Status, ...], Field(strict=False, min_length=1)] | None = None
    """Of failed attempts, only those that were answered with one of these HTTP statuses."""

    @model_validator(mode="before")
    @classmethod
    def _a_number_is_max(cls, value: Any) -> Any:
        return {"max": value} if isinstance(value, int) and not isinstance(value, bool) else value

    def covers(self, outcome: Outcome) -> bool:
        """Tell whether an attempt that did not succeed is of a sort that is tried again."""
        if outcome.verdict not in self.failures:
            return False
        filters = (self.exit_codes, self.exceptions, self.statuses)
        if outcome.verdict is not Verdict.FAILED or all(given is None for given in filters):
            return True
        raised = (outcome.error, *outcome.error_bases)
        return (
            outcome.exit_code in (self.exit_codes or ())
            or outcome.http_status in (self.statuses or ())
            or any(_names(name, error) for name in self.exceptions or () for error in raised)
        )

    def wait(self, tries: int, unit: float) -> timedelta:
        """Return the wait after the attempt number `tries`; `unit` is a random number in [0, 1)."""
        match self.strategy:
            case "exponential":
                times = 2.0 ** min(tries - 1, _MOST_DOUBLINGS)
            case "linear":
                times = float(tries)
            case "fixed":
                times = 1.0
            case _:
                assert_never(self.strategy)
        longest = min(self.max_backoff.total_seconds(), self.backoff.total_seconds() * times)
        jitter = self.strategy == "exponential" if self.jitter is None else self.jitter
        return timedelta(seconds=longest * unit if jitter else longest)


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryDecision:
    """`at` is when the next attempt is due, or None; `reason` is one sentence for a person."""

    again: bool
    at: datetime | None = None
    reason: str = ""


def decide(
    policy: RetryPolicy,
    *,
    outcome: Outcome,
    tries: int,
    now: datetime,
    unit: float,
    on_lost: str = OnLost.RETRY,
    deadline: datetime | None = None,
) -> RetryDecision:
    """Decide what follows an attempt.

    `tries` counts the attempts that were not handed back, this one included; `unit` is a random number in
    [0, 1) that the wait is scaled with. What the work itself asks for counts more than the policy:
    `no_retry` ends it, and `retry_after_seconds` sets the wait and passes over which failures are covered,
    but never the number of attempts, nor `deadline`, by which the whole run must have ended.
    """
    match outcome.verdict:
        case Verdict.SUCCEEDED | Verdict.CANCELLED:
            return RetryDecision(again=False, reason=outcome.reason)
        case Verdict.HANDED_BACK:
            return RetryDecision(again=True, at=now, reason=outcome.reason)
        case Verdict.FAILED | Verdict.TIMED_OUT:
            limit = policy.max
            refusal = _refusal(policy, outcome)
        case Verdict.LOST:
            limit = max(policy.max, LOST_RETRIES)
            fatal = on_lost == OnLost.FAIL or not policy.covers(outcome)
            refusal = "not repeated, as the job does not allow it" if fatal else None
        case _:
            assert_never(outcome.verdict)
    if refusal:
        return RetryDecision(again=False, reason=_join(outcome.reason, refusal))
    if tries > limit:
        return RetryDecision(
            again=False, reason=_join(outcome.reason, f"given up after {tries} attempts" if limit else "")
        )
    wait = _asked_wait(outcome) if outcome.retry_after_seconds is not None else policy.wait(tries, unit)
    if deadline is not None and now + wait >= deadline:
        return RetryDecision(
            again=False, reason=_join(outcome.reason, "not tried again, as its deadline would have passed by then")
        )
    told = durations.words(timedelta(seconds=math.ceil(wait.total_seconds())))
    return RetryDecision(again=True, at=now + wait, reason=_join(outcome.reason, f"retry {tries} of {limit} in {told}"))


def _refusal(policy: RetryPolicy, outcome: Outcome) -> str | None:
    if outcome.no_retry:
        return "no retry was asked for" if policy.max else ""
    if policy.max and outcome.retry_after_seconds is None and not policy.covers(outcome):
        return "not among the failures that the job retries"
    return None


def _asked_wait(outcome: Outcome) -> timedelta:
    seconds = outcome.retry_after_seconds or 0.0
    longest = durations.LONGEST.total_seconds()
    return timedelta(seconds=min(max(seconds, 0.0), longest) if seconds == seconds else 0.0)


def _names(name: str, error: str | None) -> bool:
    if error is None:
        return False
    return name.removeprefix("builtins.") == (error if "." in name else error.rsplit(".", 1)[-1]).removeprefix(
        "builtins."
    )


def _join(reason: str, more: str) -> str:
    return "; ".join(part for part in (reason, more) if part)
