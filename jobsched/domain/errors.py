"""One hierarchy of errors. Each message is one sentence for the user: what is wrong and what to do."""

from __future__ import annotations

from datetime import datetime


class JobschedError(Exception):
    """Base of every error this project raises on purpose.

    `transient` tells a caller whether the same call may work later, unchanged.
    """

    transient = False


class InvalidInput(JobschedError):
    """What the user gave cannot be accepted. `where` names the file, job and key, as far as known."""

    def __init__(self, message: str, *, where: str = "") -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.message = message
        self.where = where


class NotFound(JobschedError):
    """The job, run or schedule that was asked for does not exist."""


class Conflict(JobschedError):
    """The request contradicts the present state, e.g. retrying a run that is still running."""


class TooManyFailures(JobschedError):
    """Too many passwords or tokens were wrong; `seconds` is how long to wait before the next try."""

    transient = True

    def __init__(self, seconds: int) -> None:
        super().__init__(f"Too many sign-ins failed; try again in {seconds} seconds.")
        self.seconds = seconds


class Unavailable(JobschedError):
    """A server that is needed cannot be reached now."""

    transient = True


class TimeLimitExceeded(JobschedError):
    """Raised inside a Python callable when its soft time limit is reached, so that it can clean up."""


class CancelRequested(JobschedError):
    """Raised inside a Python callable when somebody asked for its run to be cancelled."""


class WorkerStopping(JobschedError):
    """Raised inside a Python callable when its worker is stopping; the run will be done again elsewhere."""


class DoNotRetry(JobschedError):
    """Raised by a Python callable: this failure is final, whatever retries the job allows."""


class RetryAfter(JobschedError):
    """Raised by a Python callable: try again, no sooner than `seconds` from now."""

    transient = True

    def __init__(self, seconds: float, message: str = "") -> None:
        self.seconds = float(seconds)
        super().__init__(message or f"asked to be tried again after {self.seconds:g} s")


class RetryAt(JobschedError):
    """Raised by a Python callable: try again, no sooner than the moment `at`, which knows its time zone.

    Raises ValueError for a moment without one.
    """

    transient = True

    def __init__(self, at: datetime, message: str = "") -> None:
        if at.tzinfo is None:
            raise ValueError(f"{at} does not say its time zone; give an aware datetime")
        self.at = at
        super().__init__(message or f"asked to be tried again at {at.isoformat()}")
