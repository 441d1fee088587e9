"""What no living worker can do for itself: expired leases, due retries, hints that got lost."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from jobs import messages
from jobs.conf import conf
from jobs.store import beatwatch, claims, limits, recording, recovery
from jobs.store.claims import Settled, Settlement
from jobs.store.outputs import INLINE_BYTES, is_storable_text
from jobs.store.recovery import Expired
from jobs.store.session import Refused, django_connection, in_savepoint, short_transaction
from jobsched.domain.excerpts import end_of, left_out
from jobsched.domain.outcomes import Outcome, Verdict
from jobsched.domain.states import State

if TYPE_CHECKING:
    from jobsched.domain.retry import RetryDecision

logger = logging.getLogger(__name__)

BATCH = 1000
REAP_BATCH = 100
"""Each may have left as much output as is kept while it runs; together they must fit into one statement."""
SWEEP_HINTS = 16
"""Hints a second for a queue with work: idle slots wake within a second even if every hint was lost."""


def promote() -> int:
    """Queue scheduled runs whose time has come, and hint. Return how many."""
    moved = recovery.promote_due(django_connection, limit=BATCH)
    ready = Counter(moved.ready)
    ready.update(limits.admit(django_connection, moved.lanes, moved.queues))
    messages.hint_on_commit(ready)
    return moved.count


def admit() -> None:
    """Let go what waits under the limits of jobs and queues, as far as they allow now, and hint."""
    messages.hint_on_commit(limits.admit_all(django_connection))


def give_up() -> int:
    """End waiting runs whose time in the queue, or in all, is over. Return how many."""
    given_up = recovery.give_up_expired(django_connection, limit=BATCH)
    messages.hint_on_commit(limits.admit(django_connection, given_up.freed))
    for run_id in given_up.run_ids:
        logger.warning("waiting run given up, its time is over run=%d", run_id)
    return len(given_up.run_ids)


def note_beat() -> bool:
    """Note that a beat looks at this database now. Return whether it has to watch for a lease before it judges any."""
    begins = beatwatch.note_beat(django_connection, lease=conf().lease)
    if begins:
        logger.info("leases are not judged for %g s: no beat has watched until now", conf().lease.total_seconds())
    return begins


def reap(*, unit: Callable[[], float] = random.random) -> int:
    """End attempts whose lease has expired, and retry or fail their runs. Return how many.

    None while it is not known which leases have ended: see `jobs/store/beatwatch.py`.
    """
    with short_transaction():
        expired = recovery.lock_expired(django_connection, lease=conf().lease, limit=REAP_BATCH)
        now = datetime.now(UTC)
        settled = _settle([lost(e, now=now, unit=unit()) if e.begun else handed_back(e) for e in expired])
        if unknown := [e.claim.run_id for e in expired if not e.begun]:
            recovery.claim_alone(django_connection, unknown)
    messages.hint_on_commit(limits.admit(django_connection, settled.freed))
    for e in expired:
        logger.warning("lease expired run=%d attempt=%d worker=%s", e.claim.run_id, e.claim.attempt, e.worker)
    return len(expired)


def _settle(settlements: list[Settlement]) -> Settled:
    try:
        return claims.settle_and_claim(in_savepoint, settlements, None, actor="beat")
    except Refused:
        return recording.settle_each(in_savepoint, settlements, actor="beat")


def lost(expired: Expired, *, now: datetime, unit: float) -> Settlement:
    """Decide what becomes of a run whose worker was lost."""
    claim = expired.claim
    reason = f"its worker {expired.worker} was lost: no sign of life within the lease"
    # Short output that is no text may be in the output store already.
    is_whole = len(expired.output_end) == expired.output_total <= INLINE_BYTES
    inline = is_whole and is_storable_text(expired.output_end)
    output = expired.output_end if inline else _end_of_output(expired)
    decision = _what_follows(expired, reason, now=now, unit=unit)
    return Settlement(
        run_id=claim.run_id,
        attempt=claim.attempt,
        token=claim.token,
        after=State.SCHEDULED if decision.again else State.FAILED,
        reason=decision.reason,
        again_in_seconds=(decision.at - now).total_seconds() if decision.at else None,
        verdict=Verdict.LOST,
        attempt_reason=reason,
        output=output.decode("utf-8", "replace"),
        output_total=expired.output_total,
        flushed=inline and expired.output_total > 0,
    )


def _end_of_output(expired: Expired) -> bytes:
    end = end_of(expired.output_end)
    missing = expired.output_total - len(end)
    return (left_out(missing) if missing else b"") + end


def handed_back(expired: Expired) -> Settlement:
    """Return a run to its queue whose worker was lost with a batch. Whether it had begun is not known.

    The attempt is not counted against its retries. It is claimed alone from now on, so that the next loss counts: a
    run that kills its worker each time uses up its attempts.
    """
    claim = expired.claim
    reason = (
        f"its worker {expired.worker} was lost with a batch of in-process runs; whether this one had begun is not "
        "known, so the attempt does not count"
    )
    return Settlement(
        run_id=claim.run_id,
        attempt=claim.attempt,
        token=claim.token,
        after=State.QUEUED,
        reason=reason,
        again_in_seconds=None,
        verdict=Verdict.HANDED_BACK,
        attempt_reason=reason,
        handed_back=True,
    )


def _what_follows(expired: Expired, reason: str, *, now: datetime, unit: float) -> RetryDecision:
    # Here, because a beat seldom needs it: reading definitions brings pydantic in, a fifth of a beat's start.
    from jobsched.domain.content import Content
    from jobsched.domain.retry import RetryDecision, decide

    try:
        content = Content.from_json(expired.content)
    except (ValueError, KeyError, TypeError):  # written by hand, or by a later version: it must not stop the others
        return RetryDecision(again=False, reason=f"{reason}; not repeated, as its definition cannot be read")
    return decide(
        content.retries,
        outcome=Outcome(verdict=Verdict.LOST, reason=reason),
        tries=expired.claim.tries,
        now=now,
        unit=unit,
        on_lost=content.on_lost,
        deadline=expired.claim.deadline_at,
    )


def sweep() -> None:
    """Hint again for every queue in which a run waits."""
    waiting = recovery.queues_with_work(django_connection, conf().queues)
    if waiting:
        messages.hint(dict.fromkeys(waiting, SWEEP_HINTS))
