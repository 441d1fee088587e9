"""What an exception that work raised means for its attempt."""

from __future__ import annotations

from datetime import UTC, datetime

from jobsched.domain.errors import DoNotRetry, RetryAfter, RetryAt
from jobsched.domain.outcomes import Outcome, Verdict


def failure(error: BaseException, *, no_retry: bool = False) -> Outcome:
    """Return the outcome of work that raised `error`, with what the error itself asks for."""
    return Outcome(
        verdict=Verdict.FAILED,
        reason=f"{type(error).__name__}: {_said(error)}",
        error=_name(type(error)),
        error_bases=tuple(_name(base) for base in type(error).__mro__[1:] if issubclass(base, BaseException)),
        no_retry=no_retry or isinstance(error, DoNotRetry),
        retry_after_seconds=_asked_wait(error),
    )


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # its class is the user's
        return "(its text cannot be made)"


def _name(kind: type[BaseException]) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _asked_wait(error: BaseException) -> float | None:
    match error:
        case RetryAfter():
            return error.seconds
        case RetryAt():
            return max(0.0, (error.at - datetime.now(UTC)).total_seconds())
        case _:
            return None
