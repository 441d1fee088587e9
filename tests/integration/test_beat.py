"""The scheduler class that `celery beat` ticks, on a real database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from types import ModuleType

import pytest
from celery import current_app
from django.db import OperationalError, connection, connections
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from jobs import beat
from jobs.beat import JobScheduler
from jobs.conf import conf
from jobs.models import Job, Run, Schedule
from jobs.services import scheduling
from jobs.store.session import Session, django_connection
from tests.integration.conftest import claim_next
from tests.processes import wait_for


@pytest.fixture
def scheduler(transactional_db: None) -> Iterator[JobScheduler]:
    scheduler = JobScheduler(current_app, lazy=True)
    yield scheduler
    scheduler.close()


def set_lease(monkeypatch: pytest.MonkeyPatch, module: ModuleType, lease: timedelta) -> None:
    """Change how long a lease is for one module."""
    changed = replace(conf(), lease=lease)
    monkeypatch.setattr(module, "conf", lambda: changed)


def test_workers_record_what_ended_during_an_outage_before_leases_are_judged(
    scheduler: JobScheduler,
    session: Session,
    make_runs: Callable[..., list[Run]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away() -> int:
        raise OperationalError("the database is restarting")

    set_lease(monkeypatch, scheduling, timedelta(0))  # the server itself may have been started just now
    [run] = make_runs()
    claim_next(session, lease_seconds=-1)
    with monkeypatch.context() as outage:
        outage.setattr(scheduling, "agenda", away)
        scheduler.tick()

    scheduler.tick()
    run.refresh_from_db()
    assert run.state == "running"

    set_lease(monkeypatch, beat, timedelta(0))
    scheduler.tick()
    run.refresh_from_db()
    assert run.state == "scheduled"


def test_a_beat_that_was_frozen_lets_the_workers_of_its_host_end_their_work_first(
    scheduler: JobScheduler, session: Session, make_runs: Callable[..., list[Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_lease(monkeypatch, scheduling, timedelta(0))
    scheduler.tick()
    [run] = make_runs()
    claim_next(session, lease_seconds=-1)
    now = beat.lease_clock()
    for seconds, state in ((6, "running"), (8, "running"), (10, "scheduled")):
        monkeypatch.setattr(beat, "lease_clock", lambda clock=now + seconds: clock)
        scheduler.tick()
        run.refresh_from_db()
        assert run.state == state


def test_leases_are_not_judged_while_the_server_is_young(
    scheduler: JobScheduler, session: Session, make_runs: Callable[..., list[Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A beat that was started after an outage has not seen it."""
    [run] = make_runs()
    claim_next(session, lease_seconds=-1)
    for lease, state in ((timedelta(days=3650), "running"), (timedelta(0), "scheduled")):
        set_lease(monkeypatch, scheduling, lease)
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


def test_a_beat_may_be_closed_twice(scheduler: JobScheduler) -> None:
    """As Celery does when a signal ends it."""
    scheduler.tick()
    scheduler.close()
    scheduler.close()
