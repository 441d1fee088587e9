"""The settings of Celery, as this process has them."""

from __future__ import annotations

from celery import current_app

from jobs.celery_settings import problems
from jobs.services.preflight.findings import Finding, Notes


def look() -> list[Finding]:
    """Return a finding for each setting that would break a promise."""
    notes = Notes("celery")
    for problem in problems(current_app):
        notes.error("settings", problem.sentence)
    if not notes.found:
        notes.fine("settings", "No setting of Celery breaks a promise.")
    return notes.found
