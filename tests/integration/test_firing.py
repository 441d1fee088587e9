"""From due instants to runs: on real rows, with the database's clock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import uuid4

import pytest
from celery import current_app
from django.db import connection
from django.utils import timezone
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask

from jobs.models import Job, Run, Schedule
from jobs.rules import first_after, jitter, rule_of
from jobs.services import scheduling
from jobs.store.session import Session


def tick() -> None:
    """What a beat does with schedules."""
    scheduling.refresh_edited()
    scheduling.fire_due()


@pytest.fixture
def every(make_job: Callable[..., Job]) -> Callable[..., Schedule]:
    """A job that fires every `seconds`, its first instant `late_seconds` ago."""

    def make(seconds: int = 10, *, late_seconds: float = 1.0, name: str = "Every", **task: object) -> Schedule:
        job = make_job(name)
        interval, _ = IntervalSchedule.objects.get_or_create(every=seconds, period="seconds")
        row = PeriodicTask.objects.create(name=name, task="jobs.trigger", interval=interval, **task)
        first = timezone.now() - timedelta(seconds=late_seconds)
        Schedule.objects.filter(pk=row.pk).update(
            job=job, anchor=first - timedelta(seconds=seconds), cursor=first - timedelta(seconds=1)
        )
        scheduling.refresh_edited()
        return Schedule.objects.get(pk=row.pk)

    return make


def fired() -> list[tuple[str, str]]:
    return list(Run.objects.order_by("scheduled_for").values_list("state", "reason"))


def test_a_due_instant_becomes_one_queued_run(every: Callable[..., Schedule]) -> None:
    schedule = every(10, late_seconds=3)
    instant = schedule.next_fire_at
    assert instant is not None

    assert scheduling.fire_due() == 1
    assert scheduling.fire_due() == 0

    run = Run.objects.get()
    assert (run.state, run.trigger, run.scheduled_for, run.schedule_id) == ("queued", "schedule", instant, schedule.pk)
    schedule.refresh_from_db()
    assert schedule.next_fire_at == instant + timedelta(seconds=10)
    task = PeriodicTask.objects.get()
    assert (task.total_run_count, task.last_run_at) == (1, instant)


def test_instants_up_to_a_minute_late_all_fire(every: Callable[..., Schedule]) -> None:
    every(10, late_seconds=35)
    scheduling.fire_due()
    assert fired() == [("queued", "")] * 4


@pytest.mark.parametrize(
    ("policy", "queued", "skipped"),
    [
        ({"catch_up": "none"}, 0, 31),
        ({"catch_up": "latest"}, 1, 30),
        ({"catch_up": "all"}, 31, 0),
        ({"catch_up": "all", "catch_up_limit": 5}, 5, 26),
        ({"catch_up": "all", "catch_up_window": timedelta(minutes=2)}, 6, 25),
        ({"catch_up": "latest", "catch_up_window": timedelta(seconds=1)}, 0, 31),
    ],
)
@pytest.mark.parametrize("held", [False, True])
def test_after_ten_minutes_without_a_beat_each_policy_gives_its_exact_count(
    every: Callable[..., Schedule], policy: dict[str, object], queued: int, skipped: int, held: bool
) -> None:
    schedule = every(20, late_seconds=610)
    Schedule.objects.filter(pk=schedule.pk).update(**policy, held_why="paused" if held else "")
    scheduling.fire_due()
    assert Run.objects.filter(state="queued").count() == queued
    told = Run.objects.filter(state="skipped").first()
    assert (told.skipped_count if told else 0) == skipped
    if told:
        first = schedule.next_fire_at
        assert first is not None
        assert (told.scheduled_for, told.skipped_until) == (first, first + timedelta(seconds=20 * (skipped - 1)))
        assert ("it was paused" if held else "no beat was running") in told.reason
        assert f"{skipped} instants from {first:%Y-%m-%d %H:%M:%S} to" in told.reason
    assert scheduling.fire_due() == 0


def test_what_was_missed_is_counted_the_same_whether_walked_or_reckoned(every: Callable[..., Schedule]) -> None:
    """A month of seconds is not walked; a crontab is."""
    schedule = every(1, late_seconds=30 * 86400)
    first = schedule.next_fire_at
    scheduling.fire_due()
    [told, run] = Run.objects.order_by("scheduled_for")
    assert (told.state, told.scheduled_for, run.state) == ("skipped", first, "queued")
    assert told.skipped_until == run.scheduled_for - timedelta(seconds=1)
    assert told.skipped_count == (run.scheduled_for - told.scheduled_for).total_seconds()
    assert abs((timezone.now() - run.scheduled_for).total_seconds()) < 30


def test_what_is_older_than_the_window_is_told_and_not_run(every: Callable[..., Schedule]) -> None:
    every(7 * 86400, late_seconds=2 * 86400)
    scheduling.fire_due()
    [(state, why)] = fired()
    assert state == "skipped" and why.startswith("missed: no beat was running")


def test_a_paused_job_fires_nothing_until_it_is_resumed(every: Callable[..., Schedule]) -> None:
    schedule = every(10, late_seconds=25)
    Job.objects.filter(pk=schedule.job_id).update(paused=True)
    scheduling.fire_due()
    assert fired() == []
    Job.objects.filter(pk=schedule.job_id).update(paused=False)
    scheduling.fire_due()
    [(skipped, why), (queued, _)] = fired()
    assert (skipped, queued) == ("skipped", "queued")
    assert why.startswith("missed: it was paused (catch_up: latest); 2 instants from")


@pytest.mark.parametrize("hold", ["pause", "switch off"])
def test_a_pause_in_which_nothing_was_due_changes_nothing(every: Callable[..., Schedule], hold: str) -> None:
    schedule = every(3600, late_seconds=-600)
    Schedule.objects.filter(pk=schedule.pk).update(catch_up="none")
    if hold == "pause":
        Job.objects.update(paused=True)
        Job.objects.update(paused=False)
    else:
        PeriodicTask.objects.update(enabled=False)
        PeriodicTask.objects.update(enabled=True)
    back = Schedule.objects.get(pk=schedule.pk)
    assert (back.next_fire_at, back.held_why, back.stale) == (schedule.next_fire_at, "", False)


def test_a_job_that_was_made_paused_owes_nothing(every: Callable[..., Schedule]) -> None:
    schedule = every(3600, late_seconds=7200)
    Schedule.objects.filter(pk=schedule.pk).update(paused=True)
    Job.objects.update(paused=True)
    Schedule.objects.filter(pk=schedule.pk).update(held_why="")  # as it is when the job was made paused
    Job.objects.update(paused=False)
    tick()
    assert fired() == []


def test_an_edit_while_paused_tells_what_was_owed(every: Callable[..., Schedule]) -> None:
    schedule = every(10, late_seconds=25)
    Job.objects.filter(pk=schedule.job_id).update(paused=True)
    IntervalSchedule.objects.update(every=20)
    [(state, why)] = fired()
    assert state == "skipped" and "due while it was paused" in why


def test_what_falls_due_after_an_edit_while_paused_is_owed_too(every: Callable[..., Schedule]) -> None:
    schedule = every(10, late_seconds=-5)
    Job.objects.update(paused=True)
    IntervalSchedule.objects.update(every=20)
    scheduling.refresh_edited()
    an_hour_later(schedule)
    Job.objects.update(paused=False)
    tick()
    [(skipped, why), (queued, _)] = fired()
    assert (skipped, queued) == ("skipped", "queued") and "it was paused" in why


def an_hour_later(schedule: Schedule) -> None:
    """Shift what is known of a schedule into the past."""
    now = Schedule.objects.get(pk=schedule.pk)
    hour = timedelta(hours=1)
    due = now.next_fire_at and now.next_fire_at - hour
    Schedule.objects.filter(pk=now.pk).update(anchor=now.anchor - hour, cursor=now.cursor - hour, next_fire_at=due)


def test_a_one_off_fires_once_and_is_switched_off(every: Callable[..., Schedule]) -> None:
    schedule = every(5, late_seconds=30, one_off=True)
    tick()
    tick()
    schedule.refresh_from_db()
    assert (len(fired()), schedule.next_fire_at, PeriodicTask.objects.get().enabled) == (1, None, False)


def test_a_disabled_task_never_fires(every: Callable[..., Schedule]) -> None:
    every()
    PeriodicTask.objects.update(enabled=False)
    tick()
    assert fired() == []


def test_jitter_is_a_fixed_part_that_shifts_the_fire_and_not_the_instant(every: Callable[..., Schedule]) -> None:
    schedule = every(600, late_seconds=250)
    instant = schedule.next_fire_at
    assert instant is not None
    Schedule.objects.filter(pk=schedule.pk).update(next_fire_at=None)
    Schedule.objects.filter(pk=schedule.pk).update(jitter=timedelta(seconds=200))
    Schedule.objects.filter(pk=schedule.pk).update(cursor=instant - timedelta(seconds=1))
    scheduling.refresh_edited()
    schedule.refresh_from_db()
    assert schedule.next_fire_at is not None
    offset = schedule.next_fire_at - instant
    assert offset == jitter(schedule.pk, timedelta(seconds=200))
    with connection.cursor() as cursor:
        cursor.execute("SELECT jobs_jitter(%s, '200 s')", [schedule.pk])
        assert cursor.fetchone() == (offset,)
    scheduling.fire_due()
    run = Run.objects.get()
    assert (run.scheduled_for, run.run_at) == (instant, instant + offset)
    schedule.refresh_from_db()
    assert schedule.next_fire_at == instant + timedelta(seconds=600) + offset


def test_jitter_spreads_evenly() -> None:
    offsets = sorted(jitter(number, timedelta(minutes=1)).total_seconds() for number in range(1, 601))
    assert all(abs(offset - position / 10) < 3 for position, offset in enumerate(offsets))


def test_an_edit_never_fires_an_instant_that_lies_before_it(every: Callable[..., Schedule]) -> None:
    schedule = every(3600, late_seconds=10)
    edited = timezone.now()
    PeriodicTask.objects.update(crontab=CrontabSchedule.objects.create(minute="*", hour="*"), interval=None)
    scheduling.refresh_edited()
    schedule.refresh_from_db()
    assert schedule.next_fire_at is not None and schedule.next_fire_at > edited


def test_an_edit_upon_an_edit_is_never_lost_to_a_beat_that_looks_between_them(every: Callable[..., Schedule]) -> None:
    schedules = [every(86_400, late_seconds=-60, name=f"Job {number}") for number in range(40)]
    for number, schedule in enumerate(schedules):
        own = IntervalSchedule.objects.create(every=2 + number, period="days")
        PeriodicTask.objects.filter(pk=schedule.pk).update(interval=own)
    done = threading.Event()

    def beat() -> None:
        while not done.is_set():
            scheduling.refresh_edited()
        connection.close()

    beats = [threading.Thread(target=beat) for _ in range(2)]
    for thread in beats:
        thread.start()
    intervals = list(IntervalSchedule.objects.exclude(every=86_400).values_list("pk", flat=True))
    lost = 0
    for days in range(100, 140, 2):
        for interval in intervals:
            IntervalSchedule.objects.filter(pk=interval).update(every=days)
            IntervalSchedule.objects.filter(pk=interval).update(every=days + 1)
        while Schedule.objects.filter(stale=True).exists():
            done.wait(0.01)
        for schedule in Schedule.objects.select_related("periodic_task__interval"):
            wanted = first_after(rule_of(schedule.periodic_task, schedule), schedule.cursor)
            lost += schedule.next_fire_at != wanted
    done.set()
    for thread in beats:
        thread.join()
    assert lost == 0


def test_start_and_end_are_kept(every: Callable[..., Schedule]) -> None:
    schedule = every()
    start = timezone.now() + timedelta(hours=1)
    PeriodicTask.objects.update(start_time=start)
    scheduling.refresh_edited()
    schedule.refresh_from_db()
    assert schedule.next_fire_at == start
    PeriodicTask.objects.update(expires=start)
    scheduling.refresh_edited()
    schedule.refresh_from_db()
    assert schedule.next_fire_at is None


def test_a_moment_fires_once(make_job: Callable[..., Job]) -> None:
    job = make_job()
    moment = timezone.now() + timedelta(hours=1)
    row = PeriodicTask.objects.create(
        name="once", task="x", one_off=True, clocked=ClockedSchedule.objects.create(clocked_time=moment)
    )
    Schedule.objects.filter(pk=row.pk).update(job=job)
    scheduling.refresh_edited()
    assert _next(row) == moment
    _let_pass(row)
    tick()
    tick()
    assert (len(fired()), _next(row)) == (1, None)


def test_a_row_that_makes_no_sense_stops_no_other(every: Callable[..., Schedule]) -> None:
    broken = CrontabSchedule.objects.create(minute="0")
    CrontabSchedule.objects.filter(pk=broken.pk).update(minute="nonsense")
    bad = PeriodicTask.objects.create(name="bad", task="x", crontab=broken)
    every(10, late_seconds=3)

    tick()

    assert (fired(), _next(bad)) == ([("queued", "")], None)


def test_a_beat_waits_for_nobody_who_is_editing(every: Callable[..., Schedule], other_session: Session) -> None:
    schedule = every(10, late_seconds=3)
    edited = "UPDATE django_celery_beat_periodictask SET description = 'open' WHERE id = %(id)s"
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '2s'")

    other_session("BEGIN", {})
    other_session(edited, {"id": schedule.pk})
    assert scheduling.fire_due() == 0
    other_session("ROLLBACK", {})

    assert scheduling.fire_due() == 1


def test_a_message_that_the_broker_refuses_stops_no_other(broker_url: str, transactional_db: None) -> None:
    interval = IntervalSchedule.objects.create(every=10, period="seconds")
    columns: list[dict[str, str]] = [{"exchange": "nowhere", "routing_key": "x"}, {"queue": "refusals"}]
    rows = [PeriodicTask.objects.create(name=str(c), task="x", interval=interval, **c) for c in columns]
    scheduling.refresh_edited()
    for row in rows:
        _let_pass(row)

    assert (scheduling.send_due(), scheduling.send_due()) == (2, 0)


def test_a_plain_task_that_expired_in_an_outage_is_neither_sent_nor_counted(
    broker_url: str, transactional_db: None, caplog: pytest.LogCaptureFixture
) -> None:
    interval = IntervalSchedule.objects.create(every=10, period="minutes")
    queue = f"expired-{uuid4().hex}"
    now = timezone.now()
    rows = {
        name: PeriodicTask.objects.create(name=name, task="x", queue=queue, interval=interval, expires=expires)
        for name, expires in (("gone", now - timedelta(seconds=1)), ("lives", now + timedelta(hours=1)))
    }
    due = now - timedelta(minutes=25)
    Schedule.objects.update(stale=False, next_fire_at=due, cursor=due - timedelta(minutes=10), anchor=due)

    assert scheduling.send_due() == 2

    counts = {name: PeriodicTask.objects.get(pk=row.pk) for name, row in rows.items()}
    assert (counts["gone"].total_run_count, counts["gone"].last_run_at) == (0, None)
    assert counts["lives"].total_run_count == 1
    with current_app.connection_for_read() as broker, broker.channel() as channel:
        sent = [channel.basic_get(queue, no_ack=True) for _ in range(2)]
        channel.queue_delete(queue)
    assert [message and message.headers["periodic_task_name"] for message in sent] == ["lives", None]
    [line] = [record.getMessage() for record in caplog.records if "'gone'" in record.getMessage()]
    assert "plain task not sent" in line and "instants=3" in line and "its row expired at" in line
    schedule = Schedule.objects.get(pk=rows["gone"].pk)
    assert (schedule.next_fire_at, scheduling.send_due()) == (None, 0)


def test_a_message_that_cannot_be_sent_is_not_counted(broker_url: str, transactional_db: None) -> None:
    interval = IntervalSchedule.objects.create(every=10, period="minutes")
    row = PeriodicTask.objects.create(name="broken", task="x", interval=interval)
    PeriodicTask.objects.update(args="nonsense")
    scheduling.refresh_edited()
    _let_pass(row)
    assert scheduling.send_due() == 1
    row.refresh_from_db()
    assert (row.total_run_count, row.last_run_at) == (0, None)
    assert Schedule.objects.get().next_fire_at > timezone.now()  # type: ignore[operator]


def test_beats_side_by_side_fire_every_instant_once(every: Callable[..., Schedule]) -> None:
    for number in range(40):
        every(10, late_seconds=25, name=f"Job {number}")

    def beat() -> None:
        while scheduling.fire_due(limit=3):
            pass
        connection.close()

    threads = [threading.Thread(target=beat) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for schedule in Schedule.objects.all():
        instants = list(Run.objects.filter(schedule=schedule).order_by("scheduled_for").values_list("scheduled_for"))
        assert len(instants) >= 3  # one more for each 10 s that this took
        assert instants == [
            (schedule.anchor + number * timedelta(seconds=10),) for number in range(1, len(instants) + 1)
        ]
        assert schedule.next_fire_at == schedule.anchor + (len(instants) + 1) * timedelta(seconds=10)


def _next(row: PeriodicTask) -> datetime | None:
    return Schedule.objects.get(pk=row.pk).next_fire_at


def _let_pass(row: PeriodicTask) -> None:
    past = timezone.now() - timedelta(seconds=5)
    Schedule.objects.filter(pk=row.pk).update(next_fire_at=past)


def excluding(schedule: Schedule, **given: object) -> None:
    """Give a schedule exclusions, and keep its place."""
    before = Schedule.objects.get(pk=schedule.pk)
    Schedule.objects.filter(pk=schedule.pk).update(next_fire_at=None)
    Schedule.objects.filter(pk=schedule.pk).update(exclusions={"timezone": "UTC", **given})
    Schedule.objects.filter(pk=schedule.pk).update(next_fire_at=before.next_fire_at, cursor=before.cursor, stale=False)


def test_a_blackout_becomes_one_skipped_run_at_its_first_instant(every: Callable[..., Schedule]) -> None:
    schedule = every(60, late_seconds=5)
    instant = schedule.next_fire_at
    assert instant is not None
    start, end = (instant - timedelta(minutes=1), instant + timedelta(minutes=10, seconds=30))
    excluding(schedule, blackout=[f"{start:%Y-%m-%d %H:%M}..{end:%Y-%m-%d %H:%M}"])
    assert scheduling.fire_due() == 1
    run = Run.objects.get()
    schedule.refresh_from_db()
    assert schedule.next_fire_at is not None
    count = (schedule.next_fire_at - instant) // timedelta(minutes=1)
    assert count in (10, 11)  # the window is given in whole minutes
    assert (run.state, run.scheduled_for, run.skipped_count) == ("skipped", instant, count)
    assert run.skipped_until == schedule.cursor == schedule.next_fire_at - timedelta(minutes=1)
    assert run.reason.startswith("blackout") and f"{count} instants from" in run.reason


def test_an_excluded_day_is_skipped_with_its_reason(every: Callable[..., Schedule]) -> None:
    schedule = every(86400, late_seconds=5)
    assert schedule.next_fire_at is not None
    excluding(schedule, exclude=[f"{schedule.next_fire_at:%m-%d}"])
    scheduling.fire_due()
    [(state, why)] = fired()
    assert state == "skipped" and why.startswith("excluded")
    schedule.refresh_from_db()
    assert schedule.next_fire_at is not None and schedule.next_fire_at > timezone.now()


def test_a_one_off_that_is_excluded_fires_at_the_next_instant(every: Callable[..., Schedule]) -> None:
    schedule = every(86400, late_seconds=5, one_off=True)
    assert schedule.next_fire_at is not None
    excluding(schedule, exclude=[f"{schedule.next_fire_at:%Y-%m-%d}"])
    scheduling.fire_due()
    schedule.refresh_from_db()
    assert [state for state, _ in fired()] == ["skipped"]
    assert schedule.next_fire_at is not None and PeriodicTask.objects.get().enabled


def test_exclusions_that_cannot_be_read_exclude_nothing(every: Callable[..., Schedule]) -> None:
    excluding(every(60, late_seconds=5), blackout=["what?"])
    scheduling.fire_due()
    assert fired() == [("queued", "")]


def test_a_season_of_minutes_is_counted_without_losing_the_session(every: Callable[..., Schedule]) -> None:
    """A walk longer than the database waits for a beat that stands still."""
    schedule = every(60, late_seconds=5)
    PeriodicTask.objects.update(crontab=CrontabSchedule.objects.create(), interval=None)
    scheduling.refresh_edited()
    long_ago = timezone.now().replace(second=0, microsecond=0) - timedelta(days=100)
    Schedule.objects.filter(pk=schedule.pk).update(next_fire_at=long_ago, cursor=long_ago - timedelta(minutes=1))
    Run.objects.all().delete()
    scheduling.fire_due()
    skipped, queued = Run.objects.order_by("scheduled_for")
    assert skipped.skipped_count == (queued.scheduled_for - long_ago) / timedelta(minutes=1)
