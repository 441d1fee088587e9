"""Edits of django-celery-beat's rows are seen, however they are made."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from jobs.models import FormerSchedule, Job, Run, Schedule, Transition

pytestmark = pytest.mark.django_db


@pytest.fixture
def task() -> PeriodicTask:
    every, _ = IntervalSchedule.objects.get_or_create(every=5, period="seconds")
    task = PeriodicTask.objects.create(name="t", task="some.task", interval=every)
    _settle(task)
    return task


def _settle(task: PeriodicTask) -> None:
    Schedule.objects.filter(pk=task.pk).update(stale=False, next_fire_at=timezone.now())


def by_orm(task: PeriodicTask) -> None:
    task.start_time = timezone.now()
    task.save()


def by_bulk_update(task: PeriodicTask) -> None:
    PeriodicTask.objects.filter(pk=task.pk).update(one_off=True)


def by_sql(task: PeriodicTask) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE django_celery_beat_periodictask SET start_time = now() WHERE id = %s", [task.pk])


def by_another_kind(task: PeriodicTask) -> None:
    crontab = CrontabSchedule.objects.create(minute="0")
    PeriodicTask.objects.filter(pk=task.pk).update(interval=None, crontab=crontab)


def by_the_shared_row(task: PeriodicTask) -> None:
    IntervalSchedule.objects.filter(pk=task.interval_id).update(every=9)


def by_our_own_row(task: PeriodicTask) -> None:
    Schedule.objects.filter(pk=task.pk).update(jitter=timedelta(seconds=9))


def by_deletion(task: PeriodicTask) -> None:
    task.delete()


@pytest.mark.parametrize("edit", [by_orm, by_bulk_update, by_sql, by_another_kind, by_the_shared_row, by_our_own_row])
def test_an_edit_marks_the_schedule(task: PeriodicTask, edit: Callable[[PeriodicTask], None]) -> None:
    before = timezone.now()
    edit(task)
    schedule = Schedule.objects.get(pk=task.pk)
    assert (schedule.stale, schedule.next_fire_at) == (True, None)
    assert schedule.cursor >= before


def test_what_does_not_change_the_time_marks_nothing(task: PeriodicTask) -> None:
    PeriodicTask.objects.filter(pk=task.pk).update(args="[1]", total_run_count=3, last_run_at=timezone.now())
    IntervalSchedule.objects.filter(pk=task.interval_id).update(every=5)
    assert Schedule.objects.get(pk=task.pk).stale is False


def test_a_deleted_task_takes_its_schedule_along(task: PeriodicTask) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_celery_beat_periodictask WHERE id = %s", [task.pk])
    assert not Schedule.objects.exists()


def test_a_schedule_that_is_switched_off_keeps_its_place(task: PeriodicTask) -> None:
    before = Schedule.objects.get(pk=task.pk)
    PeriodicTask.objects.filter(pk=task.pk).update(enabled=False)
    held = Schedule.objects.get(pk=task.pk)
    assert (held.switched_off, held.held_why, held.next_fire_at) == (True, "switched off", before.next_fire_at)
    PeriodicTask.objects.filter(pk=task.pk).update(enabled=True)
    back = Schedule.objects.get(pk=task.pk)
    assert (back.switched_off, back.next_fire_at, back.cursor, back.stale) == (
        False,
        before.next_fire_at,
        before.cursor,
        False,
    )


def test_one_that_was_made_switched_off_owes_nothing() -> None:
    every, _ = IntervalSchedule.objects.get_or_create(every=5, period="seconds")
    task = PeriodicTask.objects.create(name="t", task="some.task", interval=every, enabled=False)
    _settle(task)
    PeriodicTask.objects.update(enabled=True)
    back = Schedule.objects.get(pk=task.pk)
    assert (back.switched_off, back.next_fire_at, back.stale) == (False, None, True)


def test_pausing_a_job_holds_its_schedule(make_job: Callable[..., Job], task: PeriodicTask) -> None:
    job = make_job()
    Schedule.objects.filter(pk=task.pk).update(job=job)
    Job.objects.filter(pk=job.pk).update(paused=True)
    PeriodicTask.objects.update(enabled=False)
    PeriodicTask.objects.update(enabled=True)
    held = Schedule.objects.get(pk=task.pk)
    assert (held.paused, held.switched_off) == (True, False)
    Job.objects.filter(pk=job.pk).update(paused=False)
    assert Schedule.objects.get(pk=task.pk).paused is False


def test_how_a_schedule_read_before_is_kept(make_job: Callable[..., Job], task: PeriodicTask) -> None:
    Schedule.objects.filter(pk=task.pk).update(job=make_job())
    by_the_shared_row(task)
    [former] = FormerSchedule.objects.all()
    assert (former.schedule_id, former.rule["interval"], former.rule["crontab"]) == (task.pk, [5, "seconds"], None)
    by_the_shared_row(task)  # no beat has looked at it since: no instant was counted by that rule
    assert FormerSchedule.objects.count() == 1


@pytest.mark.parametrize("edit", [by_orm, by_sql, by_the_shared_row, by_our_own_row, by_deletion])
@pytest.mark.parametrize("due", [True, False])
def test_what_was_due_before_an_edit_does_not_vanish(
    make_job: Callable[..., Job], task: PeriodicTask, edit: Callable[[PeriodicTask], None], due: bool
) -> None:
    instant = timezone.now() + timedelta(minutes=-5 if due else 5)
    Schedule.objects.filter(pk=task.pk).update(job=make_job(), next_fire_at=instant)
    number = task.pk

    edit(task)

    told = list(Run.objects.values_list("schedule_id", "scheduled_for", "state"))
    assert told == ([(number, instant, "skipped")] if due else [])
    if due:
        assert "was changed before a beat fired it" in Run.objects.get().reason
        assert Transition.objects.filter(run=Run.objects.get(), after="skipped").count() == 1
