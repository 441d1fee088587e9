"""New runs: one statement, one run an instant."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from jobs.models import Job, Run, Transition
from jobs.store import births, schedules
from jobs.store.births import Birth
from jobs.store.session import django_connection
from jobsched.domain.states import State

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_an_instant_has_one_run_however_often_it_is_fired(make_job: Callable[..., Job]) -> None:
    job = make_job()
    fire = Birth(job_id=job.pk, trigger="schedule", schedule_id=7, scheduled_for=NOON)

    first = births.create(django_connection, [fire])
    again = births.create(django_connection, [fire, fire])

    assert (len(first), again) == (1, [])
    assert Run.objects.count() == Transition.objects.count() == 1


def test_requests_are_never_merged(make_job: Callable[..., Job]) -> None:
    job = make_job()
    born = births.create(django_connection, [Birth(job_id=job.pk, trigger="request")] * 3)
    assert len({b.id for b in born}) == 3


def test_a_run_takes_queue_priority_and_definition_of_its_job(make_job: Callable[..., Job]) -> None:
    job = make_job(queue="reports", priority=8, in_process=True)
    [born] = births.create(django_connection, [Birth(job_id=job.pk, trigger="request", params={"a": 1})])
    run = Run.objects.get(pk=born.id)
    assert (run.queue, run.priority, run.in_process, run.definition_id, run.params) == (
        "reports",
        8,
        True,
        job.definition_id,
        {"a": 1},
    )


def test_a_request_for_later_waits_and_a_skip_has_ended(make_job: Callable[..., Job]) -> None:
    job = make_job()
    later = datetime.now(UTC) + timedelta(hours=1)
    waiting, skipped = births.create(
        django_connection,
        [
            Birth(job_id=job.pk, trigger="request", not_before=later),
            Birth(job_id=job.pk, trigger="schedule", schedule_id=1, scheduled_for=NOON, skip_reason="paused"),
        ],
    )
    assert (waiting.state, skipped.state) == (State.SCHEDULED, State.SKIPPED)
    assert Run.objects.get(pk=waiting.id).run_at == later
    ended = Run.objects.get(pk=skipped.id)
    assert (ended.reason, ended.finished_at is not None) == ("paused", True)


def test_a_run_can_be_made_of_a_former_definition(make_job: Callable[..., Job]) -> None:
    job = make_job(priority=3)
    former = job.definition_id
    Job.objects.filter(pk=job.pk).update(priority=7)
    [born] = births.create(django_connection, [Birth(job_id=job.pk, trigger="retry", definition_id=former)])
    assert (Run.objects.get(pk=born.id).priority, Run.objects.get(pk=born.id).definition_id) == (3, former)


def test_nothing_due_is_said_so(project: object) -> None:
    assert schedules.agenda(django_connection, batch=9, lease=timedelta(0)).seconds_to_next is None
