"""The database keeps every former definition of a job, whoever changes it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection

from jobs.models import Definition, Job
from jobs.store import births
from jobs.store.births import Birth
from jobs.store.session import django_connection


def test_each_change_keeps_the_former_definition(make_job: Callable[..., Job]) -> None:
    job = make_job(timeout=timedelta(seconds=90))

    job.spec = {"command": "false"}
    job.save()
    Job.objects.filter(pk=job.pk).update(priority=9)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE jobs_job SET queue = 'other' WHERE id = %s", [job.pk])

    kept = list(Definition.objects.filter(job=job).order_by("version"))
    assert [d.version for d in kept] == [1, 2, 3, 4]
    assert [d.content["spec"]["command"] for d in kept] == ["true", "false", "false", "false"]
    assert [d.content["priority"] for d in kept] == [5, 5, 9, 9]
    assert kept[0].content["timeout_seconds"] == 90
    job.refresh_from_db()
    assert job.definition == kept[-1]


def test_what_changes_nothing_makes_no_definition(make_job: Callable[..., Job]) -> None:
    job = make_job()
    stale = Job.objects.get(pk=job.pk)
    Job.objects.filter(pk=job.pk).update(priority=6)

    job.refresh_from_db()
    Job.objects.filter(pk=job.pk).update(paused=True)
    stale.definition_id, stale.priority = None, 6
    stale.save()  # an old object knows an old definition; the database does not believe it

    assert Definition.objects.filter(job=job).count() == 2
    assert Job.objects.get(pk=job.pk).definition_id == job.definition_id


def test_a_job_with_runs_cannot_be_deleted(make_job: Callable[..., Job]) -> None:
    job = make_job()
    births.create(django_connection, [Birth(job_id=job.pk, trigger="request")])
    with connection.cursor() as cursor, pytest.raises(IntegrityError, match="has runs"):
        cursor.execute("DELETE FROM jobs_job WHERE id = %s", [job.pk])
    assert Job.objects.filter(pk=job.pk).exists()
