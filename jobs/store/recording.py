"""Record the ends of attempts, also those that the database refuses: they take no others along and have an end, too."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from jobs.store import claims
from jobs.store.claims import Lane, Settled, Settlement
from jobs.store.session import Execute, Refused
from jobsched.domain.outcomes import Verdict
from jobsched.domain.states import State

logger = logging.getLogger(__name__)


def settle_each(execute: Execute, settlements: Sequence[Settlement], *, actor: str) -> Settled:
    """Record settlements one by one. One that is refused becomes a failure for good, which says why.

    Raises Refused when that failure is refused as well: the reason is then not what the attempt returned.
    """
    recorded: dict[int, State] = {}
    freed: set[Lane] = set()
    for settlement in settlements:
        alone = _settle(execute, settlement, actor=actor)
        recorded |= alone.recorded
        freed |= alone.freed
    return Settled(recorded=recorded, freed=freed)


def _settle(execute: Execute, settlement: Settlement, *, actor: str) -> Settled:
    try:
        return claims.settle_and_claim(execute, [settlement], None, actor=actor)
    except Refused as error:
        logger.warning("result cannot be stored run=%d error=%s", settlement.run_id, error)
        return claims.settle_and_claim(execute, [_without_result(settlement, error)], None, actor=actor)


def _without_result(settlement: Settlement, error: Refused) -> Settlement:
    """Return a failure without anything that comes from the attempt.

    The attempt is over and may have taken effect, so it is not repeated. The error may be in a language of the
    server's, with characters that the database refuses as well. What was kept of its output while it ran stays.
    """
    why = str(error).encode("ascii", "replace").decode()
    reason = f"the result of this attempt cannot be stored: {why}"
    return Settlement(
        run_id=settlement.run_id,
        attempt=settlement.attempt,
        token=settlement.token,
        after=State.FAILED,
        reason=reason,
        again_in_seconds=None,
        verdict=Verdict.FAILED,
        attempt_reason=reason,
        output_total=settlement.output_total,
        killed=settlement.killed,
    )
