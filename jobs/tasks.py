"""Celery in: parse, call one service verb."""

from __future__ import annotations

from typing import Any

from celery import Task, shared_task
from celery.worker.control import control_command

from jobs import worker
from jobs.conf import WORK_TASK
from jobs.services import running


@shared_task(name=WORK_TASK, bind=True, ignore_result=True, send_events=False, acks_late=False)
def work(self: Task[Any, Any], queue: str) -> None:
    """Take a hint: perform what waits in `queue` until it is empty or this slot's turn is over."""
    running.work(queue, hostname=self.request.hostname or "slot")


@control_command(name="jobs_look")
def look(state: Any) -> dict[str, str]:
    """In a worker's main process: make its slots look at the database now."""
    worker.look()
    return {"ok": "looking"}
