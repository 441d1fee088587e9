"""What people and programs ask of jobs and runs: run now, cancel, retry, pause, resume."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django_celery_beat.models import PeriodicTask

from jobs import messages
from jobs.models import Job, Run
from jobs.store import control, limits, requests, retries
from jobs.store.births import Birth
from jobs.store.retries import AsOf
from jobs.store.session import django_connection, now, short_transaction
from jobsched.domain import parameters
from jobsched.domain.errors import Conflict, InvalidInput, NotFound
from jobsched.domain.states import FINISHED, State
from jobsched.domain.storable import check_storable

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Requested:
    """The runs that answer a request."""

    runs: list[Run]
    anew: bool
    """At least one was made for it; else they waited already, and their job is `unique`."""


def find(job: str, *, project: str = "default") -> Job:
    """Return a job by name. Raises NotFound."""
    try:
        return Job.objects.current().select_related("project").get(project__name=project, name=job)
    except Job.DoesNotExist:
        raise _no_job(job, project) from None


def _no_job(job: str, project: str) -> NotFound:
    return NotFound(f"There is no job '{job}' in project '{project}'.")


def trigger(
    *,
    job: str,
    project: str = "default",
    actor: str,
    params: dict[str, Any] | None = None,
    priority: int | None = None,
    at: datetime | None = None,
) -> Run:
    """Request a run of a job, now or at a moment, with parameters laid over the job's own. Return the run.

    A paused job can be requested: pausing holds its schedule, not people. Raises NotFound and InvalidInput.
    """
    return trigger_many(job=job, project=project, actor=actor, params=params, priority=priority, at=at, count=1)[0]


def trigger_many(
    *,
    job: str,
    count: int,
    project: str = "default",
    actor: str,
    params: dict[str, Any] | None = None,
    priority: int | None = None,
    at: datetime | None = None,
) -> list[Run]:
    """Request `count` runs of a job in one transaction. See `trigger`."""
    return request(job=job, count=count, project=project, actor=actor, params=params, priority=priority, at=at).runs


def request(
    *,
    job: str,
    count: int,
    project: str = "default",
    actor: str,
    params: dict[str, Any] | None = None,
    priority: int | None = None,
    at: datetime | None = None,
) -> Requested:
    """Do what `trigger_many` does, and tell whether anything was made."""
    if params is not None and not isinstance(params, dict):
        raise InvalidInput('params must be a JSON object, for instance {"customer": 7}.')
    _check_params(params, count)
    if priority is not None and not 0 <= priority <= 9:
        raise InvalidInput(f"priority must be 0 to 9, not {priority}.")
    if at is not None and at.tzinfo is None:
        raise InvalidInput("at must name its time zone, for instance 2026-12-01T03:00:00Z.")
    found = requests.request(
        django_connection,
        job,
        project=project,
        count=count,
        actor=actor,
        params=params,
        priority=priority,
        at=at,
    )
    if found is None:
        raise _no_job(job, project)
    if not found.limited:
        return _made(found.runs)
    birth = Birth(
        job_id=found.job_id,
        trigger=Run.Trigger.REQUEST,
        requested_by=actor,
        params=params or None,
        priority=priority,
        not_before=at,
    )
    return _make([birth] * count, limited=True)


def _made(runs: list[Run]) -> Requested:
    """Hint at runs that were just made, and return them as they stand."""
    if any(run.held for run in runs):  # their queue has a rate, which may let some of them go at once
        messages.hint_on_commit(limits.admit(django_connection, (), {run.queue for run in runs}))
        return Requested(runs=_read([run.pk for run in runs]), anew=True)
    messages.hint_on_commit(Counter(run.queue for run in runs if run.state == State.QUEUED))
    return Requested(runs=runs, anew=True)


def _check_params(params: dict[str, Any] | None, count: int) -> None:
    if not params:
        return
    try:
        check_storable(params)
        parameters.check(params, runs=count)
    except ValueError as error:
        raise InvalidInput(f"{error}.", where="params") from error


def retry(run_id: int, *, actor: str, definition: AsOf = "then") -> Run:
    """Request a new run like one that ended: the same parameters, priority and instant.

    It goes by the definition as it was `then`, or as it is `now`. Raises NotFound, and Conflict while the run has not
    ended, or when its job was deleted and so is nothing now.
    """
    return request_again(run_id, actor=actor, definition=definition).runs[0]


def request_again(run_id: int, *, actor: str, definition: AsOf = "then") -> Requested:
    """Do what `retry` does, and tell whether anything was made."""
    old = run(run_id)
    if old.state not in FINISHED:
        raise Conflict(f"Run {run_id} is {old.state}; it can be retried once it has ended.")
    if definition == "now" and old.job.archived_at is not None:
        raise Conflict(f"The job '{old.job.name}' was deleted; retry run {run_id} by the definition as it was then.")
    birth = retries.repeat(old, actor=actor, definition=definition, at=now(django_connection))
    return _make([birth], limited=old.job.limited)


def _make(wanted: list[Birth], *, limited: bool) -> Requested:
    # A statement alone needs no transaction around it: that would cost two more trips to the database.
    with short_transaction() if limited else nullcontext():
        made = limits.make(django_connection, wanted, limited=limited)
        messages.hint_on_commit(made.ready)
        if made.asked_to_end:
            transaction.on_commit(messages.look, robust=True)
    ids = [*made.instead, *(b.id for b in made.born)]
    return Requested(runs=_read(ids), anew=bool(made.born))


def _read(ids: list[int]) -> list[Run]:
    found = Run.objects.select_related("job__project").in_bulk(ids)
    return [found[id] for id in ids]


def run(run_id: int) -> Run:
    """Return a run. Raises NotFound."""
    try:
        return Run.objects.select_related("job__project").get(pk=run_id)
    except Run.DoesNotExist:
        raise NotFound(f"There is no run {run_id}.") from None


def cancel(run_ids: Iterable[int], *, actor: str) -> dict[int, State]:
    """Cancel runs: waiting ones end at once, running ones are asked to end. Return the state of each active one.

    The request is recorded before workers are notified, so that it holds even if none can be reached now.
    """
    ids = list(run_ids)
    with short_transaction():
        cancelled = control.cancel(django_connection, ids, actor=actor)
        states = cancelled.states
        if State.RUNNING in states.values():
            transaction.on_commit(messages.look, robust=True)
    messages.hint_on_commit(limits.admit(django_connection, cancelled.freed))
    logger.info("cancel requested runs=%s actor=%s", sorted(states), actor)
    return states


def cancel_one(run_id: int, *, actor: str) -> Run:
    """Cancel one run. Raises NotFound, and Conflict when it has ended already."""
    found = run(run_id)
    if run_id not in cancel([run_id], actor=actor):
        found.refresh_from_db()
        raise Conflict(f"Run {run_id} has already ended: it {_ended(found)}.")
    found.refresh_from_db()
    return found


def _ended(found: Run) -> str:
    return {State.TIMED_OUT: "timed out", State.CANCELLED: "was cancelled", State.SKIPPED: "was skipped"}.get(
        State(found.state), found.state
    )


def pause(job: Job) -> bool:
    """Hold a job's schedule: what falls due is owed until it goes on, and then its catch-up rule decides.

    Return whether it was not paused before.
    """
    return bool(Job.objects.filter(pk=job.pk, paused=False).update(paused=True))


def resume(job: Job) -> bool:
    """Let a job's schedule fire again, also one whose row was switched off. Return whether it was held before.

    A schedule that fires once and has fired stays switched off.
    """
    with transaction.atomic():
        paused = Job.objects.filter(pk=job.pk, paused=True).update(paused=False)
        switched_off = switched_off_schedules(job).update(enabled=True)
    return bool(paused or switched_off)


def switched_off_schedules(job: Job) -> QuerySet[PeriodicTask]:
    """Return the rows of a job's schedules that are switched off and would fire if they were on."""
    would_fire = Q(one_off=False) | Q(jobs_schedule__next_fire_at__isnull=False)
    found: QuerySet[PeriodicTask] = PeriodicTask.objects.filter(would_fire, jobs_schedule__job=job, enabled=False)
    return found
