"""Intervals across clock changes, with database sessions in the zone whose clocks change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connections
from django.test import Client
from django.utils.dateparse import parse_datetime
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from jobs.admin.badges import duration
from jobs.models import Attempt, Job, Run, Schedule
from jobs.services import backfill, definitions, history, lookahead, scheduling
from jobs.store.session import Session
from jobsched.domain.specs import JobSpec
from tests.integration.api import signed_in
from tests.integration.clock import DatabaseClock
from tests.integration.conftest import claim_next

BERLIN_BACK = ("Europe/Berlin", datetime(2026, 10, 25, 1, tzinfo=UTC))
OF_THE_DATABASE = {
    "Europe/Berlin back": BERLIN_BACK,
    "Europe/Berlin forward": ("Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC)),
    "America/Sao_Paulo back": ("America/Sao_Paulo", datetime(2018, 2, 18, 2, tzinfo=UTC)),
    "America/Sao_Paulo forward": ("America/Sao_Paulo", datetime(2018, 11, 4, 3, tzinfo=UTC)),
    "Australia/Lord_Howe, half an hour back": ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),
    "Asia/Kathmandu, no change": ("Asia/Kathmandu", datetime(2026, 10, 25, 1, tzinfo=UTC)),
}
"""`DATABASES["default"]["TIME_ZONE"]`, and an instant at which the clocks change there"""
OF_THE_SITE = {"Europe/Berlin back, only of the site": BERLIN_BACK}
"""`TIME_ZONE`, as an embedding project may have it"""
CHANGES = {**OF_THE_DATABASE, **OF_THE_SITE}
MINUTE = timedelta(minutes=1)


@pytest.fixture
def set_session_zone(transactional_db: None) -> Iterator[Callable[[str], None]]:
    """Set the time zone of the database's session, as Django does from its settings."""
    opened: Any = connections["default"]
    former = opened.settings_dict["TIME_ZONE"]

    def set_zone(name: str | None) -> None:
        opened.settings_dict["TIME_ZONE"] = name
        for cached in ("timezone", "timezone_name"):
            opened.__dict__.pop(cached, None)
        opened.ensure_timezone()

    yield set_zone
    set_zone(former)


@pytest.fixture(params=CHANGES)
def change(
    request: pytest.FixtureRequest, settings: Any, set_session_zone: Callable[[str], None], clock: DatabaseClock
) -> datetime:
    """The instant of a clock change, an hour and a half from the present moment of the database's clock."""
    zone, instant = CHANGES[request.param]
    if request.param in OF_THE_SITE:
        settings.TIME_ZONE = zone
    else:
        set_session_zone(zone)
    clock.set(instant - 90 * MINUTE)
    return instant


@pytest.fixture
def every(make_job: Callable[..., Job]) -> Callable[..., Schedule]:
    """A job that fires at an interval, counted from the present moment of the database's clock."""

    def make(count: int, period: str, **task: object) -> Schedule:
        interval, _ = IntervalSchedule.objects.get_or_create(every=count, period=period)
        row = PeriodicTask.objects.create(name="Every", task="x", interval=interval, **task)
        Schedule.objects.filter(pk=row.pk).update(job=make_job("Every"))
        scheduling.refresh_edited()
        return Schedule.objects.select_related("job").get(pk=row.pk)

    return make


def test_an_interval_fires_and_is_read_alike_across_a_clock_change(
    change: datetime, clock: DatabaseClock, every: Callable[..., Schedule], admin_client: Client
) -> None:
    began = clock.now()
    schedule = every(10, "minutes")
    job = schedule.job
    assert job is not None
    while clock.now() < began + 180 * MINUTE:
        clock.advance(5 * MINUTE)
        scheduling.fire_due()
    expected = [began + number * 10 * MINUTE for number in range(1, 19)]

    runs = Run.objects.order_by("scheduled_for")
    assert [(run.state, run.scheduled_for) for run in runs] == [("queued", at) for at in expected]
    account = history.account(job, start=began, end=clock.now())
    assert [(instant.at, instant.became.value) for instant in account.instants] == [(at, "run") for at in expected]
    assert account.unexpected == []
    filled = backfill.backfill(job, start=began + MINUTE, end=clock.now(), actor="ada")
    assert (filled.instants, filled.already, filled.made) == (18, 18, 0)
    [following, *_] = lookahead.upcoming(until=clock.now() + 30 * MINUTE)
    assert following.at == expected[-1] + 10 * MINUTE
    asked = {"from": began.isoformat(), "to": clock.now().isoformat()}
    told = signed_in().get("/api/v1/jobs/Every/fires", asked).json()
    assert told["counts"]["run"] == 18 and told["counts"]["unexplained"] == 0
    page = admin_client.get(
        f"/admin/jobs/job/{job.pk}/fires/",
        {"period": "between", "start": began.strftime("%Y-%m-%d %H:%M:%S"), "end": ""},
    )
    assert page.status_code == 200


def test_an_outage_across_a_clock_change_is_counted_by_the_time_that_passed(
    change: datetime, clock: DatabaseClock, every: Callable[..., Schedule]
) -> None:
    clock.set(change - 10 * MINUTE)
    schedule = every(1, "seconds")
    clock.advance(19 * MINUTE + timedelta(milliseconds=500))
    assert scheduling.fire_due() == 1
    skipped, run = Run.objects.order_by("scheduled_for")
    assert (skipped.state, skipped.skipped_count, run.state) == ("skipped", 19 * 60 - 1, "queued")
    assert run.scheduled_for == change + 9 * MINUTE
    assert f"to {skipped.skipped_until:%Y-%m-%d %H:%M:%S} UTC" in skipped.reason
    schedule.refresh_from_db()
    assert schedule.next_fire_at == run.scheduled_for + timedelta(seconds=1)
    clock.advance(timedelta(seconds=1))
    assert scheduling.fire_due() == 1


def test_a_start_time_before_a_clock_change_is_counted_from_in_utc(
    change: datetime, clock: DatabaseClock, every: Callable[..., Schedule]
) -> None:
    start = change - 40 * MINUTE
    schedule = every(25, "minutes", start_time=start)
    while clock.now() < change + 90 * MINUTE:
        clock.advance(5 * MINUTE)
        scheduling.fire_due()
    found = list(Run.objects.order_by("scheduled_for").values_list("scheduled_for", flat=True))
    assert found == [start + number * 25 * MINUTE for number in range(6)]
    schedule.refresh_from_db()
    assert definitions.manifest(schedule.job)["start"] == str(start)  # type: ignore[arg-type]


def test_a_run_across_a_clock_change_takes_as_long_as_it_took(
    change: datetime, clock: DatabaseClock, every: Callable[..., Schedule], session: Session
) -> None:
    every(1, "hours")
    clock.advance(60 * MINUTE)
    scheduling.fire_due()
    [claim] = claim_next(session)
    assert claim.scheduled_for is not None and claim.scheduled_for.tzinfo is UTC
    Attempt.objects.create(
        run_id=claim.run_id,
        number=1,
        verdict="succeeded",
        worker="w",
        claim_token=claim.token,
        started_at=change - 30 * MINUTE,
        finished_at=change + 30 * MINUTE,
    )
    attempt = Attempt.objects.get()
    assert duration(attempt.finished_at - attempt.started_at) == "1 h 0 min"


def test_the_same_file_changes_nothing_though_its_moments_are_ambiguous_on_the_clock(
    change: datetime, clock: DatabaseClock
) -> None:
    ambiguous = parse_datetime((change + 365 * 20 * timedelta(days=1)).isoformat())
    spec = JobSpec(name="Same", run="true", schedule="1h", start=change + 10 * MINUTE, end=ambiguous)
    assert definitions.save(spec, actor="test").result == "created"
    assert definitions.save(spec, actor="test").result == "unchanged"
