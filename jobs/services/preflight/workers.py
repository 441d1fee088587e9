"""The workers that answer: what they do not protect from the runs they perform."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final, cast

from celery import current_app

from jobs.conf import PROTECTION_COMMAND
from jobs.services.preflight.findings import Finding, Notes

SECONDS: Final = 1.0
"""How long answers are waited for. A worker answers at once, also while all of its slots are busy."""


def ask() -> dict[str, dict[str, list[str]]]:
    """Return the answer of each worker by its name. Raises BROKER_ERRORS of `jobs.messages`."""
    with current_app.connection_for_write(connect_timeout=3.0) as connection:
        inspect = cast(Any, current_app.control).inspect(timeout=SECONDS, connection=connection)
        return dict(inspect._request(PROTECTION_COMMAND) or {})


def look(answers: dict[str, dict[str, list[str]]]) -> list[Finding]:
    """Return a finding for each kind of protection that the workers give or lack."""
    notes = Notes("workers")
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
