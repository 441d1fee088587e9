"""Celery in: parse, call one service verb."""

from __future__ import annotations

from typing import Any

from celery import Task, shared_task
from celery.worker.control import control_command

from jobs import worker
from jobs.services import control, running


@shared_task(name="jobs.work", bind=True, ignore_result=True, send_events=False, acks_late=False)
def work(self: Task[Any, Any], queue: str) -> None:
    """Take a hint: perform what waits in `queue` until it is empty or this slot's turn is over."""
    running.work(queue, hostname=self.request.hostname or "slot")


@shared_task(name="jobs.trigger", ignore_result=True)
def trigger(job: str, params: dict[str, Any] | None = None, *, project: str = "default") -> None:
    """Request a run of a job from any Celery code: `trigger.delay("NightlyCleanup")`."""
    control.trigger(project=project, job=job, params=params, actor="celery")


@control_command(name="jobs_look")
def look(state: Any) -> dict[str, str]:
    """In a worker's main process: make its slots look at the database now."""
    worker.look()
    return {"ok": "looking"}
