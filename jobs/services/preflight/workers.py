"""The workers that answer: whether they reach the database, and what they do not protect from their runs."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final, cast

from celery import current_app

from jobs.conf import STATE_COMMAND
from jobs.services.preflight.findings import Finding, Notes

SECONDS: Final = 1.0
"""How long answers are waited for. A worker answers at once, also while all of its slots are busy."""


def ask() -> dict[str, dict[str, Any]]:
    """Return the answer of each worker by its name. Raises BROKER_ERRORS of `jobs.messages`."""
    with current_app.connection_for_write(connect_timeout=3.0) as connection:
        inspect = cast(Any, current_app.control).inspect(timeout=SECONDS, connection=connection)
        return dict(inspect._request(STATE_COMMAND) or {})


def look(answers: dict[str, dict[str, Any]]) -> list[Finding]:
    """Return a finding for each worker that is cut off, and for each kind of protection that workers give or lack."""
    notes = Notes("workers")
    for name, answer in sorted(answers.items()):
        seconds = answer.get("cut_off_seconds")
        if seconds is not None:
            notes.error(
                "database",
                f"{name} has not been able to reach PostgreSQL for {seconds:.0f} s and takes no runs until it can: "
                "look at its log, and at the network between them.",
            )
    if not answers:
        notes.unknown("protection", f"No worker has answered within {SECONDS:g} s what is protected from its runs.")
    by_sentence = defaultdict[str, list[str]](list)
    for name, answer in sorted(answers.items()):
        for sentence in answer.get("missing", ()):
            by_sentence[sentence].append(name)
        if not answer.get("missing") and answer.get("given"):
            notes.fine("protection", f"{name}: {' '.join(answer['given'])}")
    for sentence, names in by_sentence.items():
        notes.warning("protection", f"{', '.join(names)}: {sentence} See docs/security.md.")
    return notes.found
