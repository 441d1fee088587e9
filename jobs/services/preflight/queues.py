"""Queues that are named, and who serves them."""

from __future__ import annotations

from typing import Final

from jobs.broker import BrokerFacts, QueueFacts
from jobs.conf import conf
from jobs.services.preflight.findings import Finding, Notes
from jobs.store.facts import QueueUse

LONG_WAIT_SECONDS: Final = 300.0


def look(used: list[QueueUse], facts: BrokerFacts | None) -> list[Finding]:
    """Return what is right and wrong with the queues. `facts` is None when the broker was not reached."""
    notes = Notes("queues")
    for use in used:
        if use.name not in conf().queues:
            notes.error(
                "unknown",
                f"{_who(use)} the queue '{use.name}', which JOBSCHED_QUEUES (JOBSCHED['QUEUES']) does not: beats send "
                "no hints for it; add it there, for beats, web and workers, or change the jobs.",
            )
        if facts is not None and facts.rabbitmq:
            _served(use, facts.queues.get(use.name, QueueFacts(exists=False)), notes)
        _waits(use, notes)
    if facts is None or not facts.rabbitmq:
        why = "the broker was not reached" if facts is None else "this broker does not report it"
        notes.unknown("consumers", f"Whether workers serve the queues cannot be said: {why}.")
    return notes.found


def _who(use: QueueUse) -> str:
    if use.jobs:
        return f"{use.jobs} jobs name" if use.jobs > 1 else "A job names"
    return "Runs that wait name"


def _served(use: QueueUse, queue: QueueFacts, notes: Notes) -> None:
    if queue.refused:
        notes.error(
            "declaration",
            f"The queue '{use.name}' of the broker is not the one that workers declare, and they will not start "
            f"({queue.refused}): delete it there once, and they make it anew; no run is lost.",
        )
    if queue.consumers:
        notes.fine("consumers", f"'{use.name}' has {queue.consumers} consumer{'' if queue.consumers == 1 else 's'}.")
        return
    sentence = f"No worker serves the queue '{use.name}'"
    mend = f"start one with `celery worker -Q {use.name}`."
    if use.waiting:
        notes.error("consumers", f"{sentence}, and {use.waiting} runs wait in it: {mend}")
    elif use.jobs:
        notes.error("consumers", f"{sentence}, which {use.jobs} jobs name: {mend}")
    else:
        notes.warning("consumers", f"{sentence}, and no job names it yet: {mend}")


def _waits(use: QueueUse, notes: Notes) -> None:
    if use.longest_wait_seconds is not None and use.longest_wait_seconds > LONG_WAIT_SECONDS:
        notes.warning(
            "waiting",
            f"{use.waiting} runs wait in '{use.name}', the first for {use.longest_wait_seconds:.0f} s: its workers are "
            "busy, or do not work; start more, or read their logs.",
        )
    else:
        notes.fine("waiting", f"{use.waiting} runs wait in '{use.name}', none for long.")
