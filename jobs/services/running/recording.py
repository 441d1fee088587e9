"""Write settlements down, also those that hold what cannot be stored: they must not take others along."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from jobs import messages
from jobs.store import claims as store
from jobs.store import limits
from jobs.store.claims import ClaimRequest, Lane, Settled, Settlement
from jobs.store.session import Execute, Refused
from jobsched.domain.errors import Unavailable
from jobsched.domain.outcomes import Verdict
from jobsched.domain.states import State

logger = logging.getLogger(__name__)


def settle_and_claim(
    execute: Execute, settlements: Sequence[Settlement], request: ClaimRequest | None, *, actor: str
) -> Settled:
    """Do what the store's function of this name does. A settlement that cannot be stored becomes one that says so.

    Where a run of a limited job ended, the next ones are let go at once.
    """
    settled = _settle_and_claim(execute, settlements, request, actor=actor)
    return _go_on(execute, settled, request, actor=actor) if settled.freed else settled


def _go_on(execute: Execute, settled: Settled, request: ClaimRequest | None, *, actor: str) -> Settled:
    try:
        ready = limits.admit(execute, settled.freed)
    except Unavailable as error:
        logger.warning("runs that wait for their turn not let go, a beat will do so error=%s", error)
        return settled
    claims = settled.claims
    if request and not claims and ready[request.queue]:
        claims = store.settle_and_claim(execute, [], request, actor=actor).claims
        ready[request.queue] -= len(claims)
    messages.hint({queue: runs for queue, runs in ready.items() if runs > 0})
    return Settled(recorded=settled.recorded, claims=claims)


def _settle_and_claim(
    execute: Execute, settlements: Sequence[Settlement], request: ClaimRequest | None, *, actor: str
) -> Settled:
    try:
        return store.settle_and_claim(execute, settlements, request, actor=actor)
    except Refused:
        if not settlements:
            raise
    recorded: dict[int, State] = {}
    freed: set[Lane] = set()
    for settlement in settlements:
        alone = _settle(execute, settlement, actor=actor)
        recorded |= alone.recorded
        freed |= alone.freed
    claims = store.settle_and_claim(execute, [], request, actor=actor).claims
    return Settled(recorded=recorded, freed=freed, claims=claims)


def _settle(execute: Execute, settlement: Settlement, *, actor: str) -> Settled:
    try:
        return store.settle_and_claim(execute, [settlement], None, actor=actor)
    except Refused as error:
        logger.warning("result cannot be stored run=%d error=%s", settlement.run_id, error)
        return store.settle_and_claim(execute, [_unstorable(settlement, error)], None, actor=actor)


def _unstorable(settlement: Settlement, error: Refused) -> Settlement:
    """The attempt is over and may have taken effect: a failure for good, which says what is missing."""
    reason = f"what the attempt came to cannot be stored: {error}"
    return replace(
        settlement,
        after=State.FAILED,
        reason=reason,
        again_in_seconds=None,
        verdict=Verdict.FAILED,
        attempt_reason=reason,
        exit_code=None,
        signal=None,
        http_status=None,
        error=None,
        result=None,
        output="",
        sections=None,
    )
