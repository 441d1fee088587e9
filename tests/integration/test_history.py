"""Expected against actual, backfills and the look ahead: over real rows, through edits, pauses and outages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_celery_beat.models import ClockedSchedule, IntervalSchedule, PeriodicTask

from jobs.models import Backfill, FormerSchedule, Job, Run, Schedule
from jobs.services import backfill, control, history, lookahead, recovery, scheduling
from jobs.services.history import Became
from jobs.store.session import Session
from jobsched.domain.errors import InvalidInput
from tests.integration.conftest import claim_next

HOUR = timedelta(hours=1)


@pytest.fixture
def hourly(make_job: Callable[..., Job]) -> Callable[..., Schedule]:
    """A job that fires every hour; its schedule is a day old and accounted for up to `accounted_hours` ago."""

    def make(name: str = "Hourly", *, accounted_hours: float = 24, **fields: object) -> Schedule:
        interval, _ = IntervalSchedule.objects.get_or_create(every=1, period="hours")
        row = PeriodicTask.objects.create(name=name, task="x", interval=interval)
        anchor = timezone.now().replace(microsecond=0) - 24 * HOUR - timedelta(seconds=30)
        Schedule.objects.filter(pk=row.pk).update(
            job=make_job(name, **fields), anchor=anchor, cursor=anchor + (24 - accounted_hours) * HOUR
        )
        scheduling.refresh_edited()
        return Schedule.objects.select_related("job").get(pk=row.pk)

    return make


def told(schedule: Schedule, *, hours: float = 48) -> list[str]:
    assert schedule.job is not None
    now = timezone.now()
    account = history.account(schedule.job, start=now - hours * HOUR, end=now)
    assert account.unexpected == []
    return [instant.became.value for instant in account.instants]


def test_what_was_missed_is_told_instant_by_instant(hourly: Callable[..., Schedule]) -> None:
    schedule = hourly()
    assert told(schedule) == ["owed"] * 24
    scheduling.fire_due()
    assert told(schedule) == ["skipped"] * 23 + ["run"]


def test_an_instant_of_which_nothing_tells_is_a_gap(hourly: Callable[..., Schedule]) -> None:
    schedule = hourly()
    scheduling.fire_due()
    Run.objects.filter(state="skipped").update(skipped_count=3, skipped_until=schedule.anchor + 3 * HOUR)
    assert told(schedule) == ["skipped"] * 3 + ["unexplained"] * 20 + ["run"]


def test_a_run_at_a_moment_no_rule_names_is_shown_as_such(hourly: Callable[..., Schedule]) -> None:
    schedule = hourly()
    scheduling.fire_due()
    Run.objects.filter(state="queued").update(scheduled_for=timezone.now() - timedelta(minutes=7))
    assert schedule.job is not None
    account = history.account(schedule.job, start=timezone.now() - 48 * HOUR, end=timezone.now())
    assert (len(account.unexpected), account.count(Became.UNEXPLAINED)) == (1, 1)


def test_former_rules_count_for_their_own_time(hourly: Callable[..., Schedule]) -> None:
    schedule = hourly(accounted_hours=4)
    scheduling.fire_due()
    IntervalSchedule.objects.update(every=30, period="minutes")
    former = FormerSchedule.objects.get()
    edited = schedule.anchor + 10 * HOUR + timedelta(minutes=1)
    FormerSchedule.objects.filter(pk=former.pk).update(until=edited)
    account = history.account(schedule.job, start=schedule.anchor, end=schedule.anchor + 12 * HOUR)  # type: ignore[arg-type]
    assert [(i.at - schedule.anchor) / HOUR for i in account.instants] == [*range(1, 11), 10.5, 11, 11.5, 12]


def test_a_paused_schedule_owes_and_says_why(hourly: Callable[..., Schedule]) -> None:
    schedule = hourly(accounted_hours=3)
    Job.objects.update(paused=True)
    schedule.refresh_from_db()
    assert schedule.job is not None
    account = history.account(schedule.job, start=timezone.now() - 3 * HOUR, end=timezone.now())
    assert {(i.became, i.reason) for i in account.instants} == {(Became.OWED, "it is paused")}


def test_what_was_made_held_owed_nothing_until_it_went_on(hourly: Callable[..., Schedule]) -> None:
    schedule = hourly()
    Schedule.objects.filter(pk=schedule.pk).update(switched_off=True)  # as it is when the row was made disabled
    PeriodicTask.objects.update(enabled=False)
    Schedule.objects.filter(pk=schedule.pk).update(held_why="")
    PeriodicTask.objects.update(enabled=True)
    scheduling.refresh_edited()
    assert told(Schedule.objects.select_related("job").get(pk=schedule.pk)) == []


def test_a_rule_that_was_changed_before_any_beat_saw_it_is_no_gap(hourly: Callable[..., Schedule]) -> None:
    schedule = hourly()
    Schedule.objects.filter(pk=schedule.pk).update(stale=True, next_fire_at=None)
    IntervalSchedule.objects.update(every=2)
    scheduling.refresh_edited()
    assert told(schedule) == ["skipped"] * 24


@pytest.mark.parametrize("catch_up", ["none", "latest", "all"])
def test_a_one_off_is_expected_until_it_was_run(hourly: Callable[..., Schedule], catch_up: str) -> None:
    schedule = hourly(accounted_hours=5)
    PeriodicTask.objects.update(one_off=True)
    five_hours_ago = schedule.anchor + 19 * HOUR
    FormerSchedule.objects.update(until=five_hours_ago)
    Schedule.objects.filter(pk=schedule.pk).update(cursor=five_hours_ago, catch_up=catch_up)
    Run.objects.filter(schedule=schedule).delete()
    scheduling.refresh_edited()
    scheduling.fire_due()
    schedule.refresh_from_db()
    assert told(schedule, hours=5) == ["skipped"] * (5 if catch_up == "none" else 4) + ["run"] * (catch_up != "none")
    assert told(schedule, hours=0.001) == []


def test_what_a_one_off_missed_while_switched_off_is_in_the_account(hourly: Callable[..., Schedule]) -> None:
    schedule = hourly(accounted_hours=0.5)
    Schedule.objects.update(next_fire_at=None)
    PeriodicTask.objects.update(one_off=True)
    PeriodicTask.objects.update(enabled=False)
    Schedule.objects.filter(pk=schedule.pk).update(next_fire_at=schedule.anchor + 24 * HOUR)
    PeriodicTask.objects.update(enabled=True)
    skipped = Run.objects.get()
    assert (skipped.state, "switched off" in skipped.reason) == ("skipped", True)


def test_a_moment_that_had_passed_when_it_was_given_is_expected(make_job: Callable[..., Job]) -> None:
    moment = ClockedSchedule.objects.create(clocked_time=timezone.now() - HOUR)
    row = PeriodicTask.objects.create(name="Once", task="x", clocked=moment, one_off=True)
    Schedule.objects.filter(pk=row.pk).update(job=make_job("Once"))
    scheduling.refresh_edited()
    scheduling.fire_due()
    assert told(Schedule.objects.select_related("job").get(pk=row.pk)) == ["run"]


def test_a_period_with_too_many_instants_is_refused(hourly: Callable[..., Schedule]) -> None:
    schedule = hourly()
    Schedule.objects.update(anchor=timezone.now() - 20_000 * HOUR)
    with pytest.raises(InvalidInput, match="more than 10000 instants"):
        told(schedule, hours=20_000)


def test_a_backfill_runs_past_instants_once(hourly: Callable[..., Schedule], session: Session) -> None:
    schedule = hourly()
    job = schedule.job
    assert job is not None
    scheduling.fire_due()  # 23 skipped, one run
    period = {"start": schedule.anchor + HOUR, "end": schedule.anchor + 24 * HOUR}

    only_counted = backfill.backfill(job, **period, actor="ada", dry_run=True)
    assert (only_counted.id, only_counted.made, only_counted.already) == (None, 23, 1)
    assert (Run.objects.filter(trigger="backfill").count(), Backfill.objects.count()) == (0, 0)

    filled = backfill.backfill(job, **period, actor="ada")
    assert (filled.made, filled.already) == (23, 1)
    again = backfill.backfill(job, **period, actor="ada")
    assert (again.id, again.made, again.already) == (None, 0, 24)
    assert told(schedule) == ["run"] * 24
    [claim] = claim_next(session)
    assert claim.scheduled_for == schedule.anchor + HOUR  # the oldest first


def test_a_backfill_keeps_to_its_max_running(hourly: Callable[..., Schedule], session: Session) -> None:
    schedule = hourly()
    assert schedule.job is not None
    backfill.backfill(schedule.job, start=schedule.anchor, end=schedule.anchor + 9 * HOUR, actor="ada", max_running=2)
    assert [len(claim_next(session)) for _ in range(3)] == [1, 1, 0]
    recovery.admit()
    assert claim_next(session) == []
    scheduling.fire_due()  # what the schedule itself fires is not held up by it
    assert [claim.scheduled_for for claim in claim_next(session)] == [schedule.anchor + 24 * HOUR]


def test_a_backfill_of_a_job_that_skips_overlaps_queues(hourly: Callable[..., Schedule], session: Session) -> None:
    schedule = hourly(overlap="skip")
    assert schedule.job is not None
    filled = backfill.backfill(
        schedule.job, start=schedule.anchor, end=schedule.anchor + 5 * HOUR, actor="ada", max_running=3
    )
    assert filled.made == 5
    assert [len(claim_next(session)) for _ in range(2)] == [1, 0]


def test_a_backfill_is_not_replaced_by_newer_runs(hourly: Callable[..., Schedule]) -> None:
    schedule = hourly(overlap="replace")
    assert schedule.job is not None
    now = timezone.now()
    filled = backfill.backfill(schedule.job, start=now - 5 * HOUR, end=now - 2 * HOUR, actor="ada")
    control.trigger(job=schedule.job.name, actor="ada")
    assert Run.objects.filter(trigger="backfill", state="queued").count() == filled.made == 3


@pytest.mark.parametrize(
    ("start", "end", "why"),
    [(5, 6, "before it begins"), (6, -1, "past instants only")],
)
def test_a_backfill_that_makes_no_sense_is_refused(
    hourly: Callable[..., Schedule], start: int, end: int, why: str
) -> None:
    schedule = hourly()
    now = timezone.now()
    with pytest.raises(InvalidInput, match=why):
        backfill.backfill(schedule.job, start=now - start * HOUR, end=now - end * HOUR, actor="ada")  # type: ignore[arg-type]


def test_the_look_ahead_merges_all_jobs_in_one_query(hourly: Callable[..., Schedule]) -> None:
    first, second = hourly("First"), hourly("Second")
    now = datetime.now(UTC).replace(microsecond=0)
    Schedule.objects.filter(pk=first.pk).update(next_fire_at=first.anchor + 25 * HOUR)
    Schedule.objects.filter(pk=second.pk).update(next_fire_at=second.anchor + 26 * HOUR)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        fires = lookahead.upcoming(until=now + 4 * HOUR)
    assert len(queries) == 1
    assert [fire.job for fire in fires] == ["First", "First", "Second", "First", "Second", "First", "Second"]
    assert [fire.at for fire in fires] == sorted(fire.at for fire in fires)
    assert fires[0].words == "every hour"


def test_the_look_ahead_leaves_out_what_is_held(hourly: Callable[..., Schedule]) -> None:
    hourly("First")
    scheduling.fire_due()
    Job.objects.update(paused=True)
    assert lookahead.upcoming(until=timezone.now() + 4 * HOUR) == []


def test_the_look_ahead_shows_a_busy_job_a_few_times_only(hourly: Callable[..., Schedule]) -> None:
    hourly("First")
    scheduling.fire_due()
    assert len(lookahead.upcoming(until=timezone.now() + 100 * HOUR, of_each=3)) == 3
