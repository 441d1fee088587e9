"""Whether PostgreSQL allows as many connections as the workers may open at once. docs/deployment.md has the formula."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from django.db import DatabaseError, connection

from jobs import messages
from jobs.services.preflight import workers
from jobs.services.preflight.findings import Finding, Level, Notes, first_line
from jobs.store import facts
from jobs.store.session import django_connection

logger = logging.getLogger(__name__)

OF_A_SLOT: Final = 2
"""Its own connection, and one of Django's: of a Python or Celery run, or of the slot itself."""
OF_A_WORKER: Final = 2
"""Its main process, for a moment: it sees whether PostgreSQL can be reached, and records rejected messages."""

Answers = Mapping[str, Mapping[str, Any]]
"""What each worker says of itself, by its name; `slots` is how many it has."""


def needed_by(answers: Answers) -> tuple[int, int]:
    """Return how many slots the workers have together, and how many connections they may open at once."""
    slots = sum(int(answer.get("slots", 0)) for answer in answers.values())
    return slots, OF_A_WORKER * len(answers) + OF_A_SLOT * slots


def look(answers: Answers) -> list[Finding]:
    """Return whether what the workers may need fits beside what others use now. Raises DatabaseError."""
    notes = Notes("workers")
    slots, needed = needed_by(answers)
    if not slots:  # no worker has answered, which is said elsewhere
        return notes.found
    server = facts.server(django_connection)
    others = max(0, server.sessions - facts.worker_sessions(django_connection))
    who = f"{_counted(len(answers), 'worker')} with {_counted(slots, 'slot')}"
    sentence = (
        f"{who} may need {needed} connections to PostgreSQL, others use {others} now, and "
        f"{server.allowed_sessions} are allowed"
    )
    if needed + others > server.allowed_sessions:
        notes.warning(
            "connections",
            f"{sentence}: slots that find none wait and try again, and Python jobs that need one fail; raise "
            "max_connections (JOBSCHED_POSTGRES_CONNECTIONS in compose), start fewer slots, or put PgBouncer in "
            "between. See docs/deployment.md.",
        )
    else:
        notes.fine("connections", f"{sentence}.")
    return notes.found


def warn_at_start(name: str, *, slots: int) -> None:
    """In a worker that has just started: log a warning if PostgreSQL allows too few connections for all workers.

    `name` and `slots` are its own. Takes a second, in which the other workers answer.
    """
    try:
        found = look({**_others(), name: {"slots": slots}})
    except DatabaseError as error:
        logger.warning("it is not known whether PostgreSQL allows enough connections error=%s", first_line(error))
        return
    finally:
        connection.close()
    for finding in found:
        if finding.level is Level.WARNING:
            logger.warning("too few database connections: %s", finding.sentence)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _others() -> Answers:
    try:
        return workers.ask()
    except messages.BROKER_ERRORS:  # the worker says so itself
        return {}
