"""Record what was performed, claim what comes next, and let runs go on that waited for what has ended."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from jobs import messages
from jobs.store import claims as store
from jobs.store import limits
from jobs.store.claims import ClaimRequest, Settled, Settlement
from jobs.store.recording import settle_each
from jobs.store.session import Execute, Refused
from jobsched.domain.errors import Unavailable

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
    settled = settle_each(execute, settlements, actor=actor)
    claims = store.settle_and_claim(execute, [], request, actor=actor).claims
    return Settled(recorded=settled.recorded, freed=settled.freed, claims=claims)
