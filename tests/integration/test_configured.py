"""What `beat_schedule` in the Celery configuration becomes, beside what stock beat makes of it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.beat import BeatLazyFunc
from celery.schedules import crontab, schedule
from django.db import connection
from django.utils import timezone
from django_celery_beat.clockedschedule import clocked
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler

from jobs.models import Schedule
from jobs.services import configured, scheduling

pytestmark = pytest.mark.django_db(transaction=True)

ENTRIES: dict[str, dict[str, Any]] = {
    "nightly": {"task": "shop.clean", "schedule": crontab(hour=3, minute=30), "args": (1, "b")},
    "often": {"task": "shop.poll", "schedule": 90, "kwargs": {"x": [1]}, "options": {"queue": "q", "priority": 0}},
    "delta": {"task": "shop.poll", "schedule": timedelta(hours=2), "relative": True, "options": {"expires": 60}},
    "routed": {
        "task": "shop.poll",
        "schedule": schedule(run_every=timedelta(days=1)),
        "options": {"exchange": "e", "routing_key": "k", "headers": {"a": 1}, "expire_seconds": 5},
    },
    "once": {
        "task": "shop.open",
        "schedule": clocked(timezone.now().replace(microsecond=0) + timedelta(days=1)),
        "one_off": True,
        "description": "the opening",
    },
}
NOT_THEIRS = {"id", "date_changed", "last_run_at", "total_run_count", "interval", "crontab", "clocked", "solar"}


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Celery]:
    app = Celery("shop", broker="memory://", backend=f"file://{tmp_path}", set_as_current=False)
    app.conf.update(beat_schedule=dict(ENTRIES), timezone="Europe/Berlin")
    yield app
    app.close()


def contents() -> dict[str, dict[str, Any]]:
    return {
        task.name: {
            **{f.name: getattr(task, f.name) for f in PeriodicTask._meta.fields if f.name not in NOT_THEIRS},
            "when": str(task.scheduler),
        }
        for task in PeriodicTask.objects.select_related("interval", "crontab", "clocked", "solar")
    }


def test_entries_become_the_rows_that_stock_beat_makes(app: Celery) -> None:
    configured.install(app)
    ours = contents()
    PeriodicTask.objects.all().delete()
    DatabaseScheduler(app).sync()

    assert ours == contents()
    assert set(ours) == {*ENTRIES, "celery.backend_cleanup"}


def test_a_restart_edits_no_schedule_and_writes_no_row(app: Celery) -> None:
    configured.install(app)
    scheduling.refresh_edited()
    before = list(PeriodicTask.objects.order_by("pk").values())

    configured.install(app)

    assert not Schedule.objects.filter(stale=True).exists()
    assert list(PeriodicTask.objects.order_by("pk").values()) == before


def test_a_changed_entry_is_written_and_what_people_switched_off_stays_off(app: Celery) -> None:
    configured.install(app)
    PeriodicTask.objects.filter(name="often").update(enabled=False)
    app.conf.beat_schedule["often"] = {**ENTRIES["often"], "schedule": 60, "args": [7]}

    configured.install(app)

    often = PeriodicTask.objects.get(name="often")
    assert (often.interval and often.interval.every, often.args, often.enabled) == (60, "[7]", False)


def test_rows_of_entries_that_are_gone_stay(app: Celery) -> None:
    configured.install(app)
    app.conf.beat_schedule = {}
    configured.install(app)
    assert PeriodicTask.objects.filter(name="nightly").exists()


def test_of_schedule_rows_that_say_the_same_the_one_in_use_is_kept(app: Celery) -> None:
    IntervalSchedule.objects.create(every=90, period="seconds")
    second = IntervalSchedule.objects.create(every=90, period="seconds")
    configured.install(app)
    PeriodicTask.objects.filter(name="often").update(interval=second)

    configured.install(app)

    assert PeriodicTask.objects.get(name="often").interval == second


def test_results_that_no_backend_keeps_need_no_cleaning(app: Celery) -> None:
    without = Celery("shop", broker="memory://", set_as_current=False)
    configured.install(without)
    app.conf.result_expires = None
    configured.install(app)
    assert not PeriodicTask.objects.filter(name="celery.backend_cleanup").exists()


UNFIT: dict[str, dict[str, Any]] = {
    "a schedule of another kind": {"schedule": "every day"},
    "shorter than a second": {"schedule": 0.5},
    "fields that celery-beat's rows cannot hold": {"schedule": crontab(minute={0, 30})},
    "a value computed at every fire": {"schedule": 60, "args": [BeatLazyFunc(timezone.now)]},
    "an unknown field": {"schedule": 60, "colour": "red"},
    "x" * 201: {"schedule": 60},
    "no schedule at all": {},
}


@pytest.mark.parametrize("name", UNFIT)
def test_an_entry_that_no_row_can_hold_is_named_and_stops_no_other(
    app: Celery, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    app.conf.beat_schedule = {name: {"task": "shop.poll", **UNFIT[name]}, "often": ENTRIES["often"]}
    with caplog.at_level(logging.ERROR):
        configured.install(app)

    [record] = [record for record in caplog.records if record.name == configured.__name__]
    assert name in record.getMessage() and "\n" not in record.getMessage()
    assert set(contents()) == {"often", "celery.backend_cleanup"}
    assert not IntervalSchedule.objects.filter(every=0).exists()


def test_beats_that_start_at_once_make_each_row_once(app: Celery) -> None:
    errors: list[Exception] = []
    together = threading.Barrier(6)

    def start() -> None:
        try:
            together.wait()
            configured.install(app)
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    beats = [threading.Thread(target=start) for _ in range(6)]
    for beat in beats:
        beat.start()
    for beat in beats:
        beat.join()

    assert errors == []
    assert PeriodicTask.objects.count() == len(ENTRIES) + 1
    assert (CrontabSchedule.objects.count(), IntervalSchedule.objects.count()) == (2, 3)
