"""What an exception that work raised means for its attempt."""

from __future__ import annotations

import math
import sys
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Final

from jobsched.domain.errors import DoNotRetry, RetryAfter, RetryAt
from jobsched.domain.outcomes import Outcome, Verdict
from jobsched.domain.texts import NAME_LIMIT, cut

_MOST_BASES: Final = 100
"""Classes that an exception's class is derived from, as far as retry rules can name them."""


def failure(error: BaseException, *, no_retry: bool = False) -> Outcome:
    """Return the outcome of work that raised `error`, with what the error itself asks for.

    Texts are cut to their limits. Whatever the exception's class does, its name is in the outcome.
    """
    kind = type(error)
    bases = [base for base in kind.__mro__[1:] if issubclass(base, BaseException)]
    return Outcome(
        verdict=Verdict.FAILED,
        reason=cut(f"{cut(kind.__name__, NAME_LIMIT)}: {text_of(error)}"),
        error=_name(kind),
        error_bases=tuple(_name(base) for base in bases[:_MOST_BASES]),
        no_retry=no_retry or isinstance(error, DoNotRetry),
        retry_after_seconds=_requested_wait(error),
    )


def text_of(value: object) -> str:
    """Return the whole text of an exception, or of another object of the user."""
    try:
        return str.__str__(str(value))  # of a subclass, the plain text
    except BaseException:  # its class is the user's, and may raise anything
        return "(its text cannot be made)"


def print_failure(error: BaseException, trace: TracebackType | None) -> None:
    """Print an exception with its traceback to the output, unless the work has closed or replaced that."""
    with suppress(Exception):
        traceback.print_exception(type(error), error, trace)


def print_line(text: str) -> None:
    """Print a line to the standard error, unless the work has closed or replaced that."""
    with suppress(Exception):
        sys.stderr.write(f"{text}\n")


def _name(kind: type[BaseException]) -> str:
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return cut(name, NAME_LIMIT)


def _requested_wait(error: BaseException) -> float | None:
    """Return for how many seconds the error asks to wait, or None if it asks for nothing or for no finite number."""
    match error:
        case RetryAfter(seconds=int() | float() as seconds) if math.isfinite(seconds):
            return float(seconds)
        case RetryAt(at=datetime() as at) if at.tzinfo is not None:
            return max(0.0, (at - datetime.now(UTC)).total_seconds())
        case _:
            return None
