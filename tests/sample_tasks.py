"""Celery tasks that tests run as jobs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from celery import Task, shared_task
from celery.exceptions import SoftTimeLimitExceeded

import tests.sample_callables


@shared_task(name="sample.add")
def add(a: int, b: int) -> int:
    return a + b


@shared_task(name="sample.note")
def note(path: str, *, word: str) -> None:
    """Leaves a trace outside the database."""
    with Path(path).open("a") as file:
        file.write(word + "\n")


@shared_task(name="sample.flaky", autoretry_for=(ConnectionError,), max_retries=2, default_retry_delay=0, bind=True)
def flaky(self: Task[Any, Any]) -> str:
    """Fails twice with an error that Celery retries."""
    if self.request.retries < 2:
        raise ConnectionError(f"try {self.request.retries}")
    return f"succeeded after {self.request.retries} retries"


@shared_task(name="sample.broken", autoretry_for=(ConnectionError,), max_retries=5)
def broken() -> None:
    """Fails with an error that Celery does not retry."""
    raise ValueError("not to be tried again")


@shared_task(name="sample.slow", soft_time_limit=1, time_limit=5)
def slow() -> str:
    """Overruns its soft limit and tidies up."""
    try:
        time.sleep(60)
    except SoftTimeLimitExceeded:
        print("tidied up", flush=True)
        raise
    return "never"


@shared_task(name="sample.leave_thread")
def leave_thread(path: str) -> None:
    """Returns while a thread of it works, and registers an exit hook."""
    tests.sample_callables.leave_thread(path)
