"""Messages that workers rejected."""

from __future__ import annotations

from jobs.services.preflight.findings import Finding, Notes
from jobs.store import rejected
from jobs.store.session import django_connection


def look() -> list[Finding]:
    """Return a finding for each queue and reason, or one that nothing was rejected. Raises DatabaseError."""
    notes = Notes("queues")
    found = rejected.recent(django_connection)
    for one in found:
        notes.warning(
            "rejected",
            f"{one.count} messages on '{one.queue}' were rejected since {one.first_at:%Y-%m-%d %H:%M} UTC, the last at "
            f"{one.last_at:%Y-%m-%d %H:%M} UTC, because {one.reason}: find out who sends them; the log of the workers "
            "shows one of each minute. No run is lost by this.",
        )
    if not found:
        notes.fine("rejected", "Workers have rejected no message within a day.")
    return notes.found
