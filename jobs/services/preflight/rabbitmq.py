"""The broker itself."""

from __future__ import annotations

from typing import Final

from jobs.broker import BrokerFacts
from jobs.services.preflight.findings import Finding, Notes

OLDEST_TRIED: Final = (3, 10)
TIMEOUT_SINCE: Final = (3, 8, 15)
TIMEOUT_OF_HALF_AN_HOUR_SINCE: Final = (3, 8, 17)
TIMEOUT_OF_QUORUM_QUEUES_ONLY_SINCE: Final = (4, 3)


def look(facts: BrokerFacts) -> list[Finding]:
    """Return what is to be said of the broker."""
    notes = Notes("rabbitmq")
    if not facts.rabbitmq:
        notes.fine(
            "reachable", f"The broker at {facts.where} answers; it is no RabbitMQ, and nothing more is known of it."
        )
        return notes.found
    notes.fine("reachable", f"RabbitMQ answers at {facts.where}.")
    _version(facts.version, notes)
    if facts.blocked is None:
        notes.fine("alarms", "It takes messages.")
    else:
        notes.error(
            "alarms",
            f"RabbitMQ takes no messages ({facts.blocked}): it is short of memory or disk; see `rabbitmq-diagnostics "
            "alarms`, and free some. Until then workers learn of no work.",
        )
    _consumer_timeout(facts.version, notes)
    return notes.found


def _version(version: tuple[int, ...], notes: Notes) -> None:
    text = ".".join(map(str, version)) or "of a version that it does not tell"
    if version and version < OLDEST_TRIED:
        oldest = ".".join(map(str, OLDEST_TRIED))
        notes.warning("version", f"RabbitMQ is {text}, older than any this was tried with: install {oldest} or later.")
    else:
        notes.fine("version", f"RabbitMQ is {text}.")


def _consumer_timeout(version: tuple[int, ...], notes: Notes) -> None:
    """Clients are not told what it is set to; the version decides what it is by default."""
    if not version or version < TIMEOUT_SINCE:
        default = "this version has none" if version else "its default depends on the version"
    else:
        minutes = 30 if version >= TIMEOUT_OF_HALF_AN_HOUR_SINCE else 15
        only = " for quorum queues, and none for others" if version >= TIMEOUT_OF_QUORUM_QUEUES_ONLY_SINCE else ""
        default = f"by default it is {minutes} minutes{only}"
    notes.unknown(
        "consumer_timeout",
        f"RabbitMQ does not tell clients its consumer_timeout ({default}; `rabbitmqctl environment` shows it): runs of "
        "any length are safe from it, plain Celery tasks with acks_late are not.",
    )
