"""Edits of django-celery-beat's rows are seen, however they are made."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)

from jobs.models import FormerSchedule, Job, Run, Schedule, Transition
from jobs.rules import jitter
from jobs.services import history, scheduling
from jobs.store.session import Session
from tests.integration.clock import DatabaseClock

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


@pytest.fixture
def jittered(make_job: Callable[..., Job], clock: DatabaseClock) -> tuple[Schedule, datetime]:
    """A job's schedule with an instant that was due 3 seconds ago and that its jitter fires 20 seconds later."""
    minute = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
    clock.set(minute - timedelta(seconds=30))
    task = PeriodicTask.objects.create(name="Jittered", task="x", crontab=CrontabSchedule.objects.create())
    spread = timedelta(seconds=20) * 1_000_000 // (jitter(task.pk, timedelta(seconds=1)) // timedelta(microseconds=1))
    Schedule.objects.filter(pk=task.pk).update(job=make_job("Jittered"), jitter=spread)
    scheduling.refresh_edited()
    clock.set(minute + timedelta(seconds=3))
    schedule = Schedule.objects.get(pk=task.pk)
    assert schedule.next_fire_at is not None and schedule.next_fire_at > minute + timedelta(seconds=19)
    return schedule, minute


def by_exclusions(schedule: Schedule) -> None:
    Schedule.objects.filter(pk=schedule.pk).update(exclusions={"exclude": ["12-25"], "timezone": "UTC"})


def by_another_zone(schedule: Schedule) -> None:
    CrontabSchedule.objects.update(timezone="Asia/Kathmandu")


def by_an_end(schedule: Schedule) -> None:
    PeriodicTask.objects.update(expires=timezone.now() + timedelta(days=9))


def by_less_jitter(schedule: Schedule) -> None:
    Schedule.objects.filter(pk=schedule.pk).update(jitter=timedelta(0))


def by_switching_a_one_off_on_again(schedule: Schedule) -> None:
    PeriodicTask.objects.update(enabled=False)
    Schedule.objects.filter(pk=schedule.pk).update(stale=False)
    PeriodicTask.objects.update(one_off=True, enabled=True)


def by_deletion_of_the_task(schedule: Schedule) -> None:
    PeriodicTask.objects.all().delete()


@pytest.mark.parametrize(
    "edit",
    [
        by_exclusions,
        by_another_zone,
        by_an_end,
        by_less_jitter,
        by_switching_a_one_off_on_again,
        by_deletion_of_the_task,
    ],
)
def test_an_instant_that_waits_for_its_jitter_is_recorded_when_its_schedule_is_changed(
    jittered: tuple[Schedule, datetime], edit: Callable[[Schedule], None], clock: DatabaseClock
) -> None:
    schedule, minute = jittered
    edit(schedule)
    scheduling.refresh_edited()
    run = Run.objects.get()
    assert (run.state, run.scheduled_for, run.skipped_until) == ("skipped", minute, clock.now())
    assert "its schedule was changed" in run.reason
    account = history.account(run.job, start=minute - timedelta(seconds=1), end=clock.now())
    assert [(instant.at, instant.became.value) for instant in account.instants] == [(minute, "skipped")]


@pytest.mark.parametrize(("policy", "state"), [("latest", "scheduled"), ("none", "skipped")])
def test_what_falls_due_in_a_pause_is_for_the_catch_up_rule_whatever_its_jitter(
    jittered: tuple[Schedule, datetime], clock: DatabaseClock, policy: str, state: str
) -> None:
    schedule, minute = jittered
    Schedule.objects.filter(pk=schedule.pk).update(catch_up=policy)
    clock.set(minute - timedelta(milliseconds=500))
    Job.objects.update(paused=True)
    clock.set(minute + timedelta(seconds=1))
    Job.objects.update(paused=False)
    assert Schedule.objects.get().held_why == "paused"
    clock.advance(timedelta(minutes=1))
    scheduling.fire_due()
    first = Run.objects.get(scheduled_for=minute)
    assert first.state == ("queued" if state == "scheduled" else "skipped")


def test_edits_in_one_transaction_are_one_edit(make_job: Callable[..., Job], clock: DatabaseClock) -> None:
    crontab = CrontabSchedule.objects.create()
    task = PeriodicTask.objects.create(name="Twice", task="x", crontab=crontab)
    Schedule.objects.filter(pk=task.pk).update(job=make_job("Twice"))
    scheduling.refresh_edited()
    with transaction.atomic():
        PeriodicTask.objects.update(expires=timezone.now() + timedelta(days=9))
        clock.advance(timedelta(minutes=3))
        CrontabSchedule.objects.update(minute="*/2")
    former = FormerSchedule.objects.get()
    assert Schedule.objects.get().cursor == former.until


def test_a_skipped_run_that_reaches_ahead_ends_with_its_schedule(
    make_job: Callable[..., Job], clock: DatabaseClock
) -> None:
    clock.set(datetime(2026, 11, 20, 12, 0, 30, tzinfo=UTC))
    task = PeriodicTask.objects.create(name="Blackout", task="x", crontab=CrontabSchedule.objects.create())
    exclusions = {"blackout": ["12:00-13:00"], "timezone": "UTC"}
    job = make_job("Blackout")
    Schedule.objects.filter(pk=task.pk).update(job=job, exclusions=exclusions)
    scheduling.refresh_edited()
    clock.advance(timedelta(minutes=1))
    scheduling.fire_due()
    assert Run.objects.get().skipped_until == datetime(2026, 11, 20, 12, 59, tzinfo=UTC)
    clock.advance(timedelta(minutes=10))

    Schedule.objects.filter(pk=task.pk).update(exclusions=None)
    skipped = Run.objects.get()
    assert skipped.skipped_until == clock.now() and "later instants follow the new one" in skipped.reason
    scheduling.refresh_edited()
    clock.advance(timedelta(minutes=1))
    scheduling.fire_due()
    account = history.account(job, start=datetime(2026, 11, 20, 12, 0, 30, tzinfo=UTC), end=clock.now())
    assert [instant.became.value for instant in account.instants] == ["skipped"] * 11 + ["run"]
    assert not any(instant.also for instant in account.instants)


SHARED = {
    "crontab": (CrontabSchedule, {"minute": "*/7"}),
    "interval": (IntervalSchedule, {"every": 77}),
    "clocked": (ClockedSchedule, {"clocked_time": datetime(2036, 1, 1, tzinfo=UTC)}),
    "solar": (SolarSchedule, {"latitude": 10}),
}


def _shared_by(kind: str, count: int, make_job: Callable[..., Job]) -> None:
    """Jobs whose schedules name the same row, all due since 3 seconds."""
    row: Any
    match kind:
        case "crontab":
            row = CrontabSchedule.objects.create()
        case "interval":
            row = IntervalSchedule.objects.create(every=60, period="seconds")
        case "clocked":
            row = ClockedSchedule.objects.create(clocked_time=timezone.now() + timedelta(hours=1))
        case _:
            row = SolarSchedule.objects.create(event="sunrise", latitude=50, longitude=10)
    due = timezone.now() - timedelta(seconds=3)
    for number in range(count):
        task = PeriodicTask.objects.create(name=f"{kind} {number}", task="x", one_off=kind == "clocked", **{kind: row})
        Schedule.objects.filter(pk=task.pk).update(job=make_job(f"{kind} {number}"))
    Schedule.objects.update(stale=False, next_fire_at=due, cursor=due - timedelta(minutes=1))


def in_another_session(act: Callable[[], Any]) -> tuple[threading.Thread, list[Exception]]:
    """Do something on a connection of its own."""
    failures: list[Exception] = []

    def do() -> None:
        try:
            act()
        except Exception as error:
            failures.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=do)
    thread.start()
    return thread, failures


def wait_for_a_waiting_session(session: Session) -> None:
    """Return once some session of this database waits for a lock."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        waiting = session(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()", {}
        )
        if waiting != [(0,)]:
            return
    raise AssertionError("no session waits for a lock")


@pytest.mark.parametrize("kind", SHARED)
@pytest.mark.django_db(transaction=True)
def test_an_edit_of_a_shared_row_while_a_beat_fires_gives_no_instant_two_records(
    kind: str, make_job: Callable[..., Job], session: Session
) -> None:
    _shared_by(kind, 3, make_job)
    model, change = SHARED[kind]
    with transaction.atomic():  # a beat in the middle of its transaction
        assert scheduling.fire_due() == 3
        editor, failures = in_another_session(lambda: model.objects.update(**change))
        wait_for_a_waiting_session(session)
    editor.join()
    assert failures == []
    states = Run.objects.values_list("schedule_id", "scheduled_for", "state")
    assert len(states) == 3 and {state for _, _, state in states} == {"queued"}
    assert Schedule.objects.filter(stale=True).count() == 3


@pytest.mark.parametrize("kind", SHARED)
@pytest.mark.django_db(transaction=True)
def test_a_beat_leaves_alone_what_an_edit_of_a_shared_row_is_about_to_record(
    kind: str, make_job: Callable[..., Job], session: Session
) -> None:
    _shared_by(kind, 2, make_job)
    model, change = SHARED[kind]
    with transaction.atomic():
        model.objects.update(**change)
        fired: list[int] = []
        beat, failures = in_another_session(lambda: fired.append(scheduling.fire_due()))
        beat.join()
    assert (fired, failures) == ([0], [])
    assert [run.state for run in Run.objects.all()] == ["skipped", "skipped"]


@pytest.mark.django_db(transaction=True)
def test_a_schedule_that_comes_to_name_a_row_while_that_is_changed_follows_the_change(
    make_job: Callable[..., Job], session: Session
) -> None:
    shared = CrontabSchedule.objects.create(minute="0", hour="3")
    task = PeriodicTask.objects.create(name="Joins", task="x", crontab=CrontabSchedule.objects.create(minute="5"))
    Schedule.objects.filter(pk=task.pk).update(job=make_job("Joins"))
    scheduling.refresh_edited()
    with transaction.atomic():
        PeriodicTask.objects.filter(pk=task.pk).update(crontab=shared)
        editor, failures = in_another_session(lambda: CrontabSchedule.objects.filter(pk=shared.pk).update(hour="4"))
        wait_for_a_waiting_session(session)
    editor.join()
    assert failures == []
    scheduling.refresh_edited()
    schedule = Schedule.objects.get(pk=task.pk)
    assert schedule.next_fire_at is not None and schedule.next_fire_at.hour == 4


def test_fires_shows_every_record_of_an_instant(make_job: Callable[..., Job]) -> None:
    task = PeriodicTask.objects.create(name="Two", task="x", crontab=CrontabSchedule.objects.create(minute="*"))
    job = make_job("Two")
    minute = timezone.now().replace(second=0, microsecond=0)
    past = minute - timedelta(minutes=1)
    Schedule.objects.filter(pk=task.pk).update(job=job, anchor=past, cursor=past)
    scheduling.refresh_edited()
    scheduling.fire_due()
    ran = Run.objects.get(scheduled_for=minute)
    ran.pk, ran.state, ran.reason = None, "skipped", "due, but its schedule was changed"
    ran.finished_at = ran.skipped_until = minute + timedelta(seconds=3)
    ran.save()
    [instant, *_] = history.account(job, start=past, end=minute + timedelta(seconds=1)).instants
    assert (instant.became.value, [run.pk for run in instant.also]) == ("run", [ran.pk])
