"""The kind `celery`: any task of the Celery app, performed as a run.

The task is traced by Celery itself, so that its hooks and signals work as they do anywhere. What Celery would
do about a retry (send the task again with an ETA) becomes the outcome of this attempt instead, with the delay
that Celery worked out from the task's own options.
"""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import Any, ClassVar

from celery import Task, current_app
from celery.app.trace import build_tracer
from celery.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded

from jobs.conf import WORK_TASK
from jobsched.callables import accepted
from jobsched.domain.errors import InvalidInput, TimeLimitExceeded
from jobsched.domain.outcomes import Assignment, Outcome, Verdict
from jobsched.failures import failure, text_of


def find_task(name: str) -> Task[Any, Any]:
    """Return a registered task that jobs may run. Raises InvalidInput that names those there are."""
    current_app.loader.import_default_modules()
    found = current_app.tasks.get(name)
    if found is not None and not _is_built_in(found):
        return found
    known = ", ".join(sorted(name for name, task in current_app.tasks.items() if not _is_built_in(task))) or "none"
    if found is None:
        raise InvalidInput(f"there is no Celery task '{name}' in this app; it knows {known}")
    raise InvalidInput(
        f"the task '{name}' belongs to Celery or jobsched itself, and no job may run it; name one of {known}"
    )


def _is_built_in(task: Task[Any, Any]) -> bool:
    """Tell whether a task is no work of the project's.

    Celery's own (`celery.map`, `celery.group` and so on) run any task with any arguments, or send it to any queue; ours
    carries hints.
    """
    top, _, _ = type(task).__module__.partition(".")
    return task.name.startswith("celery.") or top == "celery" or task.name == WORK_TASK


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """What a task's own options say about limits and retries."""

    max_retries: int
    timeout: timedelta | None
    grace: timedelta | None


UNLIMITED_RETRIES = 1000
"""`max_retries = None` means for ever to Celery; ours has an end."""


def policy(name: str) -> Policy:
    """Return the limits that a task's decorator gives. Raises InvalidInput when there is no such task.

    `soft_time_limit` is when the task is asked to end, `time_limit` when it is killed.
    """
    task = find_task(name)
    soft, hard = task.soft_time_limit, task.time_limit
    grace = timedelta(seconds=max(0.0, hard - soft)) if soft and hard else timedelta(0) if hard else None
    limit = soft or hard
    return Policy(
        max_retries=UNLIMITED_RETRIES if task.max_retries is None else task.max_retries,
        timeout=timedelta(seconds=limit) if limit else None,
        grace=grace,
    )


class CeleryExecutor:
    """Performs `{"task", "args", "own_retries"}`; the run's parameters are the keyword arguments.

    With `own_retries`, the task's `autoretry_for` and `self.retry()` alone decide what is tried again.
    """

    in_interpreter: ClassVar[bool] = True
    needs_workspace: ClassVar[bool] = False
    ends_by_exception: ClassVar[bool] = True

    def perform(self, work: Assignment, context: Any) -> Outcome:
        """Run the task in this process and return its outcome."""
        task = find_task(work.spec["task"])
        task_id = f"run-{work.run_id}"
        request: dict[str, Any] = {
            "id": task_id,
            "task": task.name,
            "root_id": task_id,
            "parent_id": None,
            "retries": work.tries - 1,
            "is_eager": True,
            "hostname": "jobsched",
            "headers": {},
            "ignore_result": True,
            "timelimit": None,
            "delivery_info": {"is_eager": True},
        }
        _end_as_celery_does()
        tracer = build_tracer(task.name, task, eager=True, propagate=False, app=current_app)
        params = accepted(task.run, work)
        context.start_work()
        traced = tracer(task_id, work.spec.get("args", []), params, request)
        # What the task raised itself: Celery's copy may have another class, one that can be pickled.
        value = traced.retval if traced.info is None else traced.info.retval
        return self._outcome(value, failed=traced.info is not None, own=work.spec.get("own_retries", False))

    def _outcome(self, value: Any, *, failed: bool, own: bool) -> Outcome:
        if isinstance(value, Retry):
            return replace(failure(value.exc or value), no_retry=False, retry_after_seconds=_seconds(value.when))
        if isinstance(value, Reject | Ignore) and not failed:
            return Outcome(verdict=Verdict.SUCCEEDED, reason=f"the task asked to be left alone: {text_of(value)}")
        if not failed:
            return _succeeded(value)
        return failure(value, no_retry=own)


def _end_as_celery_does() -> None:
    """Let a task see Celery's own exception at its soft time limit: that is the one it handles."""
    inherited = signal.getsignal(signal.SIGTERM)

    def handle(number: int, frame: FrameType | None) -> None:
        try:
            if callable(inherited):
                inherited(number, frame)
        except TimeLimitExceeded as error:
            raise SoftTimeLimitExceeded(str(error)) from error

    signal.signal(signal.SIGTERM, handle)


def _succeeded(value: Any) -> Outcome:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        return Outcome(verdict=Verdict.FAILED, reason=f"the task's result is not JSON: {error}", no_retry=True)
    return Outcome(verdict=Verdict.SUCCEEDED, result=value)


def _seconds(when: Any) -> float:
    """Celery gives a retry's delay as a number of seconds, or its moment."""
    if isinstance(when, datetime):
        return max(0.0, (when - datetime.now(UTC)).total_seconds())
    return float(when or 0)
