"""The life cycle of a run: one table, read by the store, the database's CHECK constraints and the docs."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class State(StrEnum):
    """Where a run stands. Everything finer (exit code, lost worker, overlap) is the reason beside it."""

    SCHEDULED = "scheduled"
    """Waits for its time: a later request, or the next attempt after a backoff."""
    QUEUED = "queued"
    """May be claimed by any worker of its queue."""
    RUNNING = "running"
    """Claimed: one attempt holds a lease."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """Its last allowed attempt failed, or was lost with its worker."""
    TIMED_OUT = "timed_out"
    """Its last allowed attempt overran its time limit, or the time it may wait or take in all was over."""
    CANCELLED = "cancelled"
    """Ended at somebody's request."""
    SKIPPED = "skipped"
    """An instant that was due and was deliberately not run."""


FINISHED: Final = frozenset({State.SUCCEEDED, State.FAILED, State.TIMED_OUT, State.CANCELLED, State.SKIPPED})
ACTIVE: Final = frozenset(State) - FINISHED

BIRTHS: Final = frozenset({State.SCHEDULED, State.QUEUED, State.SKIPPED})
"""The states a run may be created in."""

TRANSITIONS: Final[dict[State, frozenset[State]]] = {
    State.SCHEDULED: frozenset({State.QUEUED, State.CANCELLED, State.TIMED_OUT}),
    State.QUEUED: frozenset({State.RUNNING, State.CANCELLED, State.TIMED_OUT}),
    State.RUNNING: frozenset(
        {
            State.SUCCEEDED,
            State.FAILED,
            State.TIMED_OUT,
            State.CANCELLED,
            State.SCHEDULED,  # another attempt is due after a backoff
            State.QUEUED,  # handed back: the worker is stopping, no attempt was spent
        }
    ),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset(),
    State.TIMED_OUT: frozenset(),
    State.CANCELLED: frozenset(),
    State.SKIPPED: frozenset(),
}


def may(before: State, after: State) -> bool:
    """Tell whether the table allows a run to go from `before` to `after`."""
    return after in TRANSITIONS[before]
