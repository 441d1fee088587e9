"""Several real beats on real servers: killed, frozen, with a wrong clock, cut off. Every instant has one run."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from jobs.models import Job, Project, Run, Schedule
from tests.processes import Process, wait_for
from tests.unrun import needs

JOBS = 200


@pytest.fixture
def every_second(transactional_db: None) -> Iterator[datetime]:
    """200 jobs that fire every second from the moment returned on. At the end they are switched off."""
    project = Project.objects.get_or_create(name="default")[0]
    interval = IntervalSchedule.objects.get_or_create(every=1, period="seconds")[0]
    start = timezone.now().replace(microsecond=0) + timedelta(seconds=1)
    for number in range(JOBS):
        job = Job.objects.create(
            project=project, name=f"Each second {number}", kind="shell", spec={"command": "true"}, queue="nobody"
        )
        task = PeriodicTask.objects.create(name=job.name, task="x", interval=interval)
        Schedule.objects.filter(pk=task.pk).update(job=job, anchor=start, cursor=start)
    yield start
    PeriodicTask.objects.update(enabled=False)


def switch_off() -> datetime:
    """Switch all schedules off, and return the last instant up to which every one of them is accounted for."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE django_celery_beat_periodictask SET enabled = false")
        cursor.execute("SELECT max(cursor) FROM jobs_schedule")
        [(last,)] = cursor.fetchall()
    assert isinstance(last, datetime)
    return last


def fired() -> int:
    return Run.objects.count()


def test_beats_that_are_killed_and_frozen_under_load_lose_and_double_nothing(
    every_second: datetime, start_beat: Callable[..., Process]
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    beats = [start_beat() for _ in range(3)]
    wait_for(lambda: fired() >= JOBS, timeout=60, what="the first fires")
    for _ in range(5):
        victim = chance.randrange(len(beats))
        if chance.random() < 0.5:
            beats[victim].kill()
            beats[victim] = start_beat()
        else:
            beats[victim].signal(signal.SIGSTOP)
            time.sleep(2)
            beats[victim].signal(signal.SIGCONT)
        before = fired()
        wait_for(lambda before=before: fired() >= before + JOBS, timeout=60, what="fires of the others")

    # Whatever was late is fired before the count.
    wait_for(lambda: not Schedule.objects.filter(next_fire_at__lt=timezone.now() - timedelta(seconds=3)).exists())
    last = switch_off()
    per_schedule: dict[int, set[datetime]] = {}
    for schedule, instant, state in Run.objects.values_list("schedule_id", "scheduled_for", "state"):
        assert state == "queued" and schedule is not None and instant is not None
        assert instant not in per_schedule.setdefault(schedule, set())
        per_schedule[schedule].add(instant)
    cursors = dict(Schedule.objects.values_list("pk", "cursor"))
    for schedule, instants in per_schedule.items():
        seconds = int((cursors[schedule] - every_second).total_seconds())
        assert instants == {every_second + timedelta(seconds=n + 1) for n in range(seconds)}
    assert len(per_schedule) == JOBS and last - every_second > timedelta(seconds=5)


def test_a_clock_that_is_an_hour_off_changes_nothing(
    every_second: datetime, start_beat: Callable[..., Process]
) -> None:
    library = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)
    if library is None:
        needs("faketime", "`apt-get install faketime` provides it")
    for shift in ("+3600", "-3600"):
        wrong = start_beat(env={"LD_PRELOAD": str(library), "FAKETIME": shift})
        for _ in range(3):  # not only what was due when it started
            before = fired()
            wait_for(
                lambda before=before: fired() >= before + 2 * JOBS, timeout=60, what=f"fires by a clock {shift} s off"
            )
        wrong.kill()
    for instant, made in Run.objects.values_list("scheduled_for", "created_at"):
        assert instant is not None and timedelta(0) <= made - instant < timedelta(minutes=1)
    assert not Run.objects.exclude(state="queued").exists()


def test_an_edit_is_seen_while_a_beat_runs(transactional_db: None, start_beat: Callable[..., Process]) -> None:
    """By plain SQL, without a signal to anybody."""
    project = Project.objects.get_or_create(name="default")[0]
    job = Job.objects.create(project=project, name="Edited", kind="shell", spec={"command": "true"})
    hours = IntervalSchedule.objects.create(every=9, period="hours")
    second = IntervalSchedule.objects.create(every=1, period="seconds")
    task = PeriodicTask.objects.create(name="Edited", task="x", interval=hours)
    Schedule.objects.filter(pk=task.pk).update(job=job)
    start_beat()
    wait_for(lambda: Schedule.objects.filter(stale=False).exists(), what="the first look")
    assert not Run.objects.exists()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE django_celery_beat_periodictask SET interval_id = %s", [second.pk])
    edited = Schedule.objects.get().cursor
    wait_for(lambda: Run.objects.count() >= 3, timeout=20, what="fires by the new rule")
    assert min(Run.objects.values_list("scheduled_for", flat=True)) > edited


def test_the_health_file_stays_young_only_while_both_servers_answer(
    transactional_db: None, start_beat: Callable[..., Process], tmp_path: Path
) -> None:
    healthy, without_broker, without_database = (tmp_path / name for name in ("healthy", "no-broker", "no-database"))
    start_beat(env={"JOBSCHED_BEAT_HEALTH_FILE": str(healthy)})
    no_broker = start_beat(
        env={"JOBSCHED_BEAT_HEALTH_FILE": str(without_broker), "JOBSCHED_BROKER_URL": "amqp://a:b@127.0.0.1:1//"}
    )
    no_database = start_beat(
        env={
            "JOBSCHED_BEAT_HEALTH_FILE": str(without_database),
            "JOBSCHED_DATABASE_URL": "postgres://a:b@127.0.0.1:1/none",
        }
    )
    first = wait_for(lambda: healthy.exists() and healthy.stat().st_mtime, what="the health file")
    wait_for(lambda: healthy.stat().st_mtime > first, timeout=20, what="a younger health file")
    wait_for(lambda: "cannot reach the broker" in no_broker.log(), what="a word on the broker")
    wait_for(lambda: "cannot use the database" in no_database.log(), what="a word on the database")
    assert not without_broker.exists() and not without_database.exists()
