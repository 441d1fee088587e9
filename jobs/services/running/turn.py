"""The screen on which one run can be followed. `work` is called by a hint, in a Celery pool child: a *slot*."""

from __future__ import annotations

import threading
import time

from jobs import idle_connections, messages, worker
from jobs.services.running.inline import perform_inline
from jobs.services.running.isolated import perform_isolated
from jobs.services.running.settling import hand_back
from jobs.services.running.slot import SlotProcess
from jobs.store.claims import Claim, Settlement
from jobsched.domain.errors import Unavailable

TURN_SECONDS = 5.0
"""How long a slot stays with one queue while that has work; then the hints of other queues get their turn."""
PACE_SECONDS = 0.05
"""Claim as many in-process runs at once as took this long lately: few commits, and nobody waits long for them."""
BATCH_LIMIT = 200

_slot: SlotProcess | None = None


def work(queue: str, *, hostname: str) -> None:
    """Perform runs of `queue` until it is empty, this slot's turn is over, or its worker is stopping.

    A worker that is stopping, or that cannot reach the database, leaves what a hint says to other workers.
    """
    if worker.stopping() or worker.cut_off_since() is not None:
        return
    slot = _slot_of_this_process(hostname)
    turn_ends = time.monotonic() + TURN_SECONDS
    claims = slot.record([], claim_from=queue, limit=1)
    while claims:
        began = time.monotonic()
        settlements = perform(slot, claims)
        goes_on = time.monotonic() < turn_ends and not worker.stopping()
        limit = pace(len(claims), time.monotonic() - began) if claims[0].in_process else 1
        claims = slot.record(settlements, claim_from=queue if goes_on else None, limit=limit)
        # Another slot continues where this one stops; while no hint can be sent, this one continues itself.
        if not goes_on and not messages.hint({queue: 1}) and not worker.stopping():
            turn_ends = time.monotonic() + TURN_SECONDS
            claims = slot.record([], claim_from=queue, limit=1)
    slot.storing.tidy(slot.session)


def perform(slot: SlotProcess, claims: list[Claim]) -> list[Settlement]:
    """Perform what was claimed: one run in a process of its own, or a batch of trusted callables right here.

    Where the database is lost between the claim and the reading of the definitions, nothing has begun.
    """
    try:
        for claim in claims:
            slot.content(claim)  # kept by the slot
    except Unavailable as error:
        return [hand_back(claim, f"the definition of the run could not be read: {error}") for claim in claims]
    if claims[0].in_process:
        return perform_inline(slot, claims)
    return [perform_isolated(slot, claim) for claim in claims]


def pace(performed: int, seconds: float) -> int:
    """Return how many in-process runs to claim next, given how long the last batch took."""
    return max(1, min(BATCH_LIMIT, performed * 4, int(PACE_SECONDS * performed / max(seconds, 1e-6))))


def _slot_of_this_process(hostname: str) -> SlotProcess:
    global _slot
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("Workers that serve jobs need processes, not threads: start them with --pool=prefork.")
    if _slot is None:
        _slot = SlotProcess(hostname=hostname)
        idle_connections.also_close(_slot.session.close)
        _slot.warm()
    return _slot
