"""Create, change and remove jobs, and apply small files of them, within the call."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from django.db import transaction
from django_celery_beat.models import PeriodicTask

from jobs.models import Job, Run
from jobs.services.definitions.batch import Batch
from jobs.store import control, staging
from jobs.store.schedules import name_actor
from jobs.store.session import django_connection
from jobsched.domain import manifest
from jobsched.domain.specs import JobSpec

logger = logging.getLogger(__name__)


class Result(StrEnum):
    """How a job was saved."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, kw_only=True, slots=True)
class Applied:
    """One job of a file, and how it was saved."""

    project: str
    name: str
    result: Result


def apply(text: str | bytes, *, filename: str, actor: str) -> list[Applied]:
    """Create or update the jobs of a YAML file: all of them, or none and InvalidInput.

    All is done in one transaction. For files of more than some hundred jobs there is `request`.
    """
    file = manifest.parse(text, filename=filename)
    return apply_jobs(file.jobs, project=file.project, actor=actor, where=filename)


def save(spec: JobSpec, *, project: str = "default", actor: str, must_be_new: bool = False) -> Applied:
    """Create a job or make it what `spec` says. Raises InvalidInput, and Conflict when it must be new and is not.

    What a person does while operating (pausing) outlasts the same file being applied again.
    """
    return apply_jobs([spec], project=project, actor=actor, must_be_new=must_be_new)[0]


def apply_jobs(
    specs: Sequence[JobSpec], *, project: str, actor: str, where: str = "", must_be_new: bool = False
) -> list[Applied]:
    """Create or update jobs in one transaction: all of them, or none. See `save`."""
    with transaction.atomic():
        batch = Batch(id=staging.new_batch(django_connection), project=project, specs=specs, where=where)
        batch.stage()
        results = batch.publish(actor=actor, must_be_new=must_be_new)
    return log(results, project=project, actor=actor)


def log(results: Iterable[tuple[str, str]], *, project: str, actor: str) -> list[Applied]:
    """Log what was published, and return it."""
    outcomes = [Applied(project=project, name=name, result=Result(result)) for name, result in results]
    for outcome in outcomes:
        if outcome.result is not Result.UNCHANGED:
            logger.info("job %s project=%s job=%s actor=%s", outcome.result, project, outcome.name, actor)
    return outcomes


def remove(job: Job, *, actor: str) -> None:
    """Delete a job: its schedule goes and its waiting runs are cancelled, its history stays."""
    with transaction.atomic():
        name_actor(django_connection, actor)
        PeriodicTask.objects.filter(jobs_schedule__job=job).delete()
        Job.objects.filter(pk=job.pk).update(archived_at=datetime.now(UTC))
        waiting = list(Run.objects.active().filter(job=job).values_list("pk", flat=True))
        control.cancel(django_connection, waiting, actor=actor)
    logger.info("job removed project=%s job=%s actor=%s", job.project.name, job.name, actor)
