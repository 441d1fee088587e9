"""The scheduler class that `celery beat` ticks, on a real database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from celery import current_app
from django.db import connection, connections
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from jobs import beat
from jobs.beat import JobScheduler
from jobs.conf import conf
from jobs.models import Job, Run, Schedule
from jobs.services import recovery, scheduling
from jobs.store.session import Session, django_connection
from tests.integration.conftest import claim_next, set_watch
from tests.processes import wait_for


@pytest.fixture
def scheduler(transactional_db: None) -> Iterator[JobScheduler]:
    scheduler = JobScheduler(current_app, lazy=True)
    yield scheduler
    scheduler.close()


def ago(seconds: float) -> str:
    """Return a moment as PostgreSQL reads it."""
    return (timezone.now() - timedelta(seconds=seconds)).isoformat()


@pytest.mark.parametrize(
    ("since", "seen", "judged"),
    [
        pytest.param(25, 0, False, id="watched for less than a lease"),
        pytest.param(90, 7, False, id="nobody has looked lately"),
        pytest.param(90, 0, True, id="watched for more than a lease"),
    ],
)
def test_leases_are_judged_once_beats_have_watched_for_the_length_of_one(
    session: Session, make_runs: Callable[..., list[Run]], since: float, seen: float, judged: bool
) -> None:
    make_runs()
    claim_next(session, lease_seconds=-1)
    set_watch(since=ago(since), seen_at=ago(seen))
    assert scheduling.agenda().expired is judged
    assert recovery.reap() == int(judged)


def test_no_lease_is_judged_before_a_beat_has_looked(session: Session, make_runs: Callable[..., list[Run]]) -> None:
    """After a crash of the database and after the promotion of a replica there is no watch: it is unlogged."""
    make_runs()
    claim_next(session, lease_seconds=-1)
    django_connection("DELETE FROM jobs_beatwatch", {})
    assert scheduling.agenda().expired is False
    assert recovery.reap() == 0


def watched_since() -> Any:
    return django_connection("SELECT since FROM jobs_beatwatch", {})[0][0]


@pytest.mark.parametrize(
    ("seen", "begins"),
    [
        pytest.param(1, False, id="another look in time"),
        pytest.param(-0.5, False, id="clock set back a little"),
        pytest.param(7, True, id="no look for a while, or clock set forth"),
        pytest.param(-60, True, id="clock set back"),
    ],
)
def test_a_gap_begins_the_watch_anew(transactional_db: None, seen: float, begins: bool) -> None:
    long_ago = ago(3600)
    set_watch(since=long_ago, seen_at=ago(seen))
    assert recovery.note_beat() is begins
    assert (watched_since() == datetime.fromisoformat(long_ago)) is not begins
    assert not recovery.note_beat()


def test_a_clock_that_is_behind_that_of_the_lost_primary_makes_no_lease_longer(
    session: Session, make_runs: Callable[..., list[Run]]
) -> None:
    """A promoted replica reads leases that the primary's clock has set."""
    [run] = make_runs()
    claim_next(session, lease_seconds=7200)
    django_connection("DELETE FROM jobs_beatwatch", {})
    assert recovery.note_beat()
    run.refresh_from_db()
    assert run.lease_until is not None and run.lease_until <= timezone.now() + conf().lease


def test_a_beat_that_was_just_started_judges_leases_only_where_another_has_watched(
    scheduler: JobScheduler, session: Session, make_runs: Callable[..., list[Run]]
) -> None:
    first, second = make_runs(2)
    claim_next(session, lease_seconds=-1)
    django_connection("DELETE FROM jobs_beatwatch", {})
    for _ in range(2):
        scheduler.tick()
        scheduler._swept_at = 0.0
    first.refresh_from_db()
    assert first.state == "running"

    claim_next(session, lease_seconds=-1)
    set_watch(since=ago(3600), seen_at=ago(1))
    scheduler.tick()
    second.refresh_from_db()
    assert second.state == "scheduled"


def test_a_beat_that_was_frozen_lets_the_workers_of_its_host_end_their_work_first(
    scheduler: JobScheduler, session: Session, make_runs: Callable[..., list[Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other beats have watched meanwhile."""
    scheduler.tick()
    [run] = make_runs()
    claim_next(session, lease_seconds=-1)
    now = beat.lease_clock()
    for seconds, state in ((6, "running"), (8, "running"), (10, "scheduled")):
        set_watch(since=ago(3600), seen_at=ago(0))
        monkeypatch.setattr(beat, "lease_clock", lambda clock=now + seconds: clock)
        scheduler.tick()
        run.refresh_from_db()
        assert run.state == state


def test_a_beat_that_is_frozen_in_the_middle_of_firing_holds_up_nobody(
    make_job: Callable[..., Job], process_env: dict[str, str]
) -> None:
    every = IntervalSchedule.objects.create(every=1, period="hours")
    for number in range(3):
        row = PeriodicTask.objects.create(name=f"j{number}", task="x", interval=every)
        Schedule.objects.filter(pk=row.pk).update(job=make_job(f"j{number}"))
    scheduling.refresh_edited()
    Schedule.objects.update(next_fire_at=timezone.now())
    frozen = subprocess.Popen([sys.executable, "-m", "tests.integration.frozen_beat"], env=process_env)
    try:
        os.waitpid(frozen.pid, os.WUNTRACED)  # it stands still now, its rows locked
        assert scheduling.fire_due() == 0

        wait_for(scheduling.fire_due, timeout=30, what="the release of the frozen beat's schedules")
        assert Run.objects.count() == 3
    finally:
        os.kill(frozen.pid, signal.SIGCONT)
        assert frozen.wait(timeout=30) != 0
    assert Run.objects.count() == 3


def test_a_beat_that_cannot_do_what_is_due_does_not_spin(
    scheduler: JobScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = PeriodicTask.objects.create(
        name="plain", task="x", interval=IntervalSchedule.objects.create(every=10, period="seconds")
    )
    scheduling.refresh_edited()
    Schedule.objects.filter(pk=row.pk).update(next_fire_at=timezone.now() - timedelta(seconds=5))

    def unreachable() -> int:
        raise ConnectionRefusedError

    monkeypatch.setattr(scheduling, "send_due", unreachable)

    assert scheduler.tick() >= 0.5


def planned() -> set[str]:
    """Return the tables that statements which this thread's connection has plans of write to or lock."""
    rows = django_connection("SELECT statement FROM pg_prepared_statements WHERE generic_plans > 0", {})
    tables = ("INTO jobs_run", "UPDATE django_celery_beat_periodictask", "NO KEY UPDATE OF t, s")
    return {table for table in tables if any(table in statement for (statement,) in rows)}


def test_both_connections_have_their_plans_before_the_first_rush_and_again_after_they_were_lost(
    scheduler: JobScheduler,
) -> None:
    def both_planned() -> tuple[int, int]:
        return len(planned()), len(scheduler._second.submit(planned).result())

    scheduler.tick()
    assert both_planned() == (3, 3)

    connection.close()
    scheduler._second.submit(connections.close_all).result()
    assert both_planned() == (0, 0)
    scheduler._swept_at = 0.0
    scheduler.tick()
    assert both_planned() == (3, 3)
    assert not Run.objects.exists()


def test_a_rush_of_slow_batches_leaves_time_for_the_watch(
    scheduler: JobScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten slow batches take longer than the watch may have a gap: no lease is judged then for the length of one."""
    taken: list[int] = []
    monkeypatch.setattr(beat, "RUSH_SECONDS", -1.0)  # each batch takes longer
    monkeypatch.setattr(scheduling, "fire_due", lambda *, limit: taken.append(limit) or limit)
    assert scheduler._fire_batches() == scheduling.SMALL_BATCH
    assert taken == [scheduling.SMALL_BATCH]


def test_a_beat_may_be_closed_twice(scheduler: JobScheduler) -> None:
    """As Celery does when a signal ends it."""
    scheduler.tick()
    scheduler.close()
    scheduler.close()
