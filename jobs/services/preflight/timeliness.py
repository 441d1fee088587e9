"""What beats and workers should have done by now. The database's clock decides."""

from __future__ import annotations

from typing import Final

from jobs.conf import conf
from jobs.services.preflight.findings import Finding, Notes
from jobs.store import facts
from jobs.store.session import django_connection

BEAT_SECONDS: Final = 30.0
"""A beat looks twice a second."""


def look() -> list[Finding]:
    """Return what is to be said of beats. Raises DatabaseError."""
    late = facts.late(django_connection)
    notes = Notes("beat")
    _say(
        notes,
        "fires",
        late.fire,
        wrong="A schedule is due for {seconds:.0f} s and has not fired",
        right="No schedule is overdue.",
    )
    _say(
        notes,
        "promotions",
        late.promote,
        wrong="A run's time came {seconds:.0f} s ago and it is not in its queue",
        right="No run waits beyond its time.",
    )
    _say(
        notes,
        "leases",
        late.reap,
        wrong=f"{late.expired} running runs lost their worker, the first {{seconds:.0f}} s ago, and wait for a beat",
        right="No lease ended unseen.",
        # After an outage of the database a beat leaves workers one lease to come back.
        patience=BEAT_SECONDS + conf().lease.total_seconds(),
    )
    return notes.found


def _say(
    notes: Notes, check: str, seconds: float | None, *, wrong: str, right: str, patience: float = BEAT_SECONDS
) -> None:
    if seconds is not None and seconds > patience:
        notes.error(
            check,
            f"{wrong.format(seconds=seconds)}: no beat is running, or it cannot work; start one, or read its log.",
        )
    else:
        notes.fine(check, right)
