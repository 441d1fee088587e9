"""Celery tasks and trusted callables of the suite, which its workers import."""

from __future__ import annotations

import os
import signal
import time

from celery import shared_task

from jobsched.callables import callable_job


@shared_task(name="chaos.note")
def note(path: str, word: str) -> None:
    """Leave a line outside the database."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(file, f"{word}\n".encode())
    finally:
        os.close(file)


@callable_job("chaos.suicide", in_process=True)
def suicide(**_: object) -> None:
    """End the slot, as the out-of-memory killer would."""
    os.kill(os.getpid(), signal.SIGKILL)


@callable_job("chaos.harmless", in_process=True)
def harmless(**_: object) -> None:
    """Do nothing, in the slot."""


@callable_job("chaos.stamp", in_process=True)
def stamp(path: str, word: str, seconds: float = 0.0, **_: object) -> None:
    """Leave a line outside the database as soon as it starts, in the slot."""
    note(path, word)
    time.sleep(seconds)
