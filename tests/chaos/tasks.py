"""Celery tasks of the suite: what PeriodicTasks of other people name, beside our jobs."""

from __future__ import annotations

import os

from celery import shared_task


@shared_task(name="chaos.note")
def note(path: str, word: str) -> None:
    """Leave a line outside the database."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(file, f"{word}\n".encode())
    finally:
        os.close(file)
