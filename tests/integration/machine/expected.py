"""What a run must be like, worked out from what was done to it. Knows nothing of SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never
from uuid import UUID

from jobsched.domain.outcomes import Verdict
from jobsched.domain.states import FINISHED, State
from tests.integration.machine.jobs import Facts


@dataclass(kw_only=True, slots=True)
class Expected:
    """One run as the promises say it is."""

    id: int
    facts: Facts
    state: State
    attempt: int = 0
    handed_back: int = 0
    token: UUID | None = None
    expired: bool = False
    """The lease of its attempt has ended."""
    overdue: bool = False
    """It has waited longer than it may."""
    asked_to_end: bool = False
    batchable: bool = False
    """It may share a batch; while it runs: it does, and whether it has begun is not recorded."""

    @property
    def ended(self) -> bool:
        return self.state in FINISHED

    def holds(self, attempt: int, token: UUID) -> bool:
        """Tell whether this claim is the one that stands."""
        return self.state is State.RUNNING and (self.attempt, self.token) == (attempt, token)

    def claim(self, token: UUID, *, with_others: bool) -> None:
        self.state, self.token, self.expired = State.RUNNING, token, False
        self.attempt += 1
        self.batchable = self.batchable and with_others

    def reap(self) -> None:
        """End the attempt whose lease has ended."""
        verdict = Verdict.HANDED_BACK if self.batchable else Verdict.LOST
        self.batchable = False
        self.settle(verdict)

    def settle(self, verdict: Verdict) -> None:
        """End the attempt that is under way."""
        self.handed_back += verdict is Verdict.HANDED_BACK
        after = self._after(verdict)
        if self.asked_to_end and (verdict is Verdict.LOST or after in (State.SCHEDULED, State.QUEUED)):
            after = State.CANCELLED
        self.state, self.token, self.expired, self.overdue = after, None, False, False

    def _after(self, verdict: Verdict) -> State:
        tries = self.attempt - self.handed_back
        match verdict:
            case Verdict.SUCCEEDED:
                return State.SUCCEEDED
            case Verdict.CANCELLED:
                return State.CANCELLED
            case Verdict.HANDED_BACK:
                return State.QUEUED
            case Verdict.FAILED:
                return State.SCHEDULED if tries <= self.facts.retries else State.FAILED
            case Verdict.TIMED_OUT:
                return State.SCHEDULED if tries <= self.facts.retries else State.TIMED_OUT
            case Verdict.LOST:
                return State.SCHEDULED if tries <= self.facts.retries_when_lost else State.FAILED
            case _:
                assert_never(verdict)

    def cancel(self) -> None:
        self.asked_to_end = True
        if self.state is not State.RUNNING:
            self.state = State.CANCELLED
