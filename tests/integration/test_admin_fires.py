"""The pages along a schedule: what became of its fires, what is to come, and runs for what has passed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from jobs.models import Backfill, Job, Project, Run, Schedule
from jobs.services import definitions, scheduling
from jobsched.domain.specs import JobSpec

HOUR = timedelta(hours=1)
HOSTILE = "<script>alert(1)</script>\x1b[31m"
UPCOMING = "/admin/jobs/job/upcoming/"


def _signed_in(name: str, *codenames: str) -> Client:
    user = User.objects.create(username=name, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def viewer(transactional_db: None) -> Client:
    """Staff who may look at jobs, and no more: not even at runs."""
    return _signed_in("viewer", "view_job")


@pytest.fixture
def operator(transactional_db: None) -> Client:
    return _signed_in("operator", "view_job", "change_job", "view_run")


@pytest.fixture
def hourly(make_job: Callable[..., Job]) -> Callable[..., Schedule]:
    """A job that fires every hour; its schedule is a day old and nothing is accounted for yet."""

    def make(name: str = "Hourly", **fields: object) -> Schedule:
        interval, _ = IntervalSchedule.objects.get_or_create(every=1, period="hours")
        row = PeriodicTask.objects.create(name=name, task="x", interval=interval)
        anchor = timezone.now().replace(microsecond=0) - 24 * HOUR - timedelta(seconds=30)
        Schedule.objects.filter(pk=row.pk).update(job=make_job(name, **fields), anchor=anchor, cursor=anchor)
        scheduling.refresh_edited()
        return Schedule.objects.select_related("job").get(pk=row.pk)

    return make


def _job(schedule: Schedule) -> Job:
    assert schedule.job is not None
    return schedule.job


def _fires(schedule: Schedule) -> str:
    return reverse("admin:jobs_job_fires", args=[schedule.job_id])


def _backfill(schedule: Schedule) -> str:
    return reverse("admin:jobs_job_backfill", args=[schedule.job_id])


def _text(response: Any) -> str:
    assert response.status_code == 200
    return str(response.content.decode())


def _counts(response: Any) -> dict[str, int]:
    return {words: count for words, count, _ in response.context["counts"]}


def test_each_instant_is_told_with_its_run(operator: Client, hourly: Callable[..., Schedule]) -> None:
    schedule = hourly()
    scheduling.fire_due()
    ran = Run.objects.get(state="queued")
    response = operator.get(_fires(schedule), {"period": "week"})
    page = _text(response)
    assert _counts(response) == {"unexplained": 0, "run": 1, "skipped": 23, "not accounted for yet": 0}
    assert reverse("admin:jobs_run_change", args=[ran.pk]) in page
    assert "no beat was running" in page and 'class="js-bad"' not in page
    assert response.context["rows"][0].run == ran  # the newest first


def test_what_nothing_tells_of_comes_first_and_in_red(operator: Client, hourly: Callable[..., Schedule]) -> None:
    schedule = hourly()
    scheduling.fire_due()
    Run.objects.filter(state="skipped").update(skipped_count=3, skipped_until=schedule.anchor + 3 * HOUR)
    response = operator.get(_fires(schedule), {"period": "week"})
    assert _counts(response)["unexplained"] == 20
    assert [row.unexplained for row in response.context["rows"]] == [True] * 20 + [False] * 4
    assert _text(response).count('class="js-bad"') == 21


@pytest.mark.parametrize(("period", "instants"), [({}, 23), ({"period": "hour"}, 1), ({"period": "week"}, 24)])
def test_a_period_is_chosen(
    period: dict[str, str], instants: int, operator: Client, hourly: Callable[..., Schedule]
) -> None:
    schedule = hourly()
    scheduling.fire_due()
    Schedule.objects.update(anchor=schedule.anchor - timedelta(minutes=1))  # none of them within a second of a bound
    response = operator.get(_fires(schedule), period)
    assert response.context["total"] in (instants, instants + 1)


def test_a_period_between_two_moments_is_read_on_the_sites_clock(
    operator: Client, hourly: Callable[..., Schedule]
) -> None:
    schedule = hourly()
    asked = {"period": "between", "start": f"{schedule.anchor:%Y-%m-%dT%H:%M:%S}"}
    asked["end"] = f"{schedule.anchor + 2 * HOUR:%Y-%m-%dT%H:%M:%S}"
    assert operator.get(_fires(schedule), asked).context["total"] == 2
    assert "Say from when." in _text(operator.get(_fires(schedule), {"period": "between"}))
    assert "Select a valid choice" in _text(operator.get(_fires(schedule), {"period": "year"}))
    assert "valid date/time" in _text(operator.get(_fires(schedule), {"period": "between", "start": "soon"}))
    backwards = {"period": "between", "start": asked["end"], "end": asked["start"]}
    assert "before it begins" in _text(operator.get(_fires(schedule), backwards))


def test_too_many_instants_are_refused_with_the_reason(operator: Client, hourly: Callable[..., Schedule]) -> None:
    schedule = hourly()
    Schedule.objects.update(anchor=timezone.now() - 20_000 * HOUR)
    page = _text(operator.get(_fires(schedule), {"period": "between", "start": "2000-01-01T00:00"}))
    assert "has more than 10000 instants in that period" in page


def test_the_pages_cost_the_same_however_many_rows(operator: Client, hourly: Callable[..., Schedule]) -> None:
    schedule = hourly()
    for address in (_fires(schedule), UPCOMING):
        operator.get(address, {"period": "hour"} if "fires" in address else {})
        with CaptureQueriesContext(connection) as few:
            operator.get(address, {"period": "hour"} if "fires" in address else {})
        for number in range(5):
            hourly(f"More of {address[-5:-1]} {number}")
        scheduling.fire_due()
        with CaptureQueriesContext(connection) as many:
            operator.get(address, {"period": "week"} if "fires" in address else {"hours": "168"})
        assert len(many) == len(few)


def test_who_may_not_see_runs_sees_what_became_but_no_reason(viewer: Client, hourly: Callable[..., Schedule]) -> None:
    schedule = hourly()
    scheduling.fire_due()
    Run.objects.update(reason="secret words of a run")
    page = _text(viewer.get(_fires(schedule), {"period": "week"}))
    assert "<strong>23</strong> skipped" in page
    assert "secret words" not in page and "/admin/jobs/run/" not in page.partition('id="content"')[2]


def test_reasons_are_text(operator: Client, hourly: Callable[..., Schedule]) -> None:
    schedule = hourly()
    scheduling.fire_due()
    Run.objects.update(reason=HOSTILE)
    Run.objects.filter(state="queued").update(scheduled_for=timezone.now() - timedelta(minutes=7))
    page = _text(operator.get(_fires(schedule), {"period": "week"}))
    assert "1 run at moments that no rule names" in page
    assert "&lt;script&gt;alert" in page and "<script>alert" not in page and "\x1b" not in page


def test_a_long_account_goes_on_over_pages(operator: Client, hourly: Callable[..., Schedule]) -> None:
    schedule = hourly()
    Schedule.objects.update(anchor=schedule.anchor - 300 * HOUR)
    first = {"period": "between", "start": "2000-01-01T00:00"}
    response = operator.get(_fires(schedule), first)
    assert len(response.context["rows"]) == 200 and "Page 1 of 2" in _text(response)
    assert len(operator.get(_fires(schedule), {**first, "page": "2"}).context["rows"]) == 124


def test_the_page_of_a_job_leads_to_them(
    operator: Client, hourly: Callable[..., Schedule], make_job: Callable[..., Job]
) -> None:
    schedule = hourly()
    page = _text(operator.get(reverse("admin:jobs_job_change", args=[schedule.job_id])))
    assert _fires(schedule) in page and _backfill(schedule) in page
    unscheduled = make_job("Unscheduled")
    page = _text(operator.get(reverse("admin:jobs_job_change", args=[unscheduled.pk])))
    assert "/fires/" not in page and "/backfill/" not in page
    address = reverse("admin:jobs_job_fires", args=[unscheduled.pk])
    assert "has no schedule" in _text(operator.get(address))
    assert UPCOMING in _text(operator.get("/admin/jobs/job/"))


def test_the_coming_fires_of_all_jobs_in_order(operator: Client, hourly: Callable[..., Schedule]) -> None:
    first, second = hourly("First"), hourly("Second")
    scheduling.fire_due()
    page = _text(operator.get(UPCOMING, {"hours": "1"}))
    assert "First" in page and "Second" in page and "every hour" in page
    fires = [fire for _, fire in operator.get(UPCOMING, {"hours": "24"}).context["fires"]]
    assert [fire.at for fire in fires] == sorted(fire.at for fire in fires)
    assert {fire.job_id for fire in fires} == {first.job_id, second.job_id} and len(fires) == 10
    assert "Nothing fires" not in page
    Job.objects.update(paused=True)
    assert "Nothing fires in that time." in _text(operator.get(UPCOMING))


@pytest.mark.parametrize("asked", [{"hours": "x"}, {"hours": "9999"}, {"project": "nowhere"}])
def test_a_look_ahead_that_makes_no_sense_says_so(
    asked: dict[str, str], operator: Client, hourly: Callable[..., Schedule]
) -> None:
    hourly()
    assert "Select a valid choice" in _text(operator.get(UPCOMING, asked))


def test_a_backfill_is_shown_before_it_is_made(operator: Client, hourly: Callable[..., Schedule]) -> None:
    schedule = hourly()
    scheduling.fire_due()
    asked = {
        "start": f"{schedule.anchor + HOUR:%Y-%m-%dT%H:%M:%S}",
        "end": f"{schedule.anchor + 24 * HOUR:%Y-%m-%dT%H:%M:%S}",
        "max_running": "2",
    }
    assert "every hour" in _text(operator.get(_backfill(schedule)))
    page = _text(operator.post(_backfill(schedule), asked))
    assert "<strong>23 runs</strong> would be made" in page and "1 had its run already" in page
    assert (Backfill.objects.count(), Run.objects.filter(trigger="backfill").count()) == (0, 0)
    changing = _text(operator.post(_backfill(schedule), {**asked, "again": "Change"}))
    assert f'value="{asked["start"]}"' in changing and "would be made" not in changing

    response = operator.post(_backfill(schedule), {**asked, "confirmed": "Make 23 runs"}, follow=True)
    assert "23 runs of Hourly for past instants were made; 1 had its run already." in _text(response)
    assert response.context["cl"].result_count == 23
    assert (Backfill.objects.get().max_running, Backfill.objects.get().requested_by) == (2, "operator")
    assert "Nothing would be made" in _text(operator.post(_backfill(schedule), asked))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"start": ""}, "This field is required."),
        ({"end": "2999-01-01T00:00"}, "past instants only"),
        ({"start": "2026-01-02T00:00", "end": "2026-01-01T00:00"}, "before it begins"),
        ({"max_running": "0"}, "greater than or equal to 1"),
        ({"max_running": "many"}, "Enter a whole number."),
    ],
)
def test_a_backfill_that_makes_no_sense_says_so(
    changes: dict[str, str], complaint: str, operator: Client, hourly: Callable[..., Schedule]
) -> None:
    schedule = hourly()
    asked = {"start": "2026-01-01T00:00", "end": "2026-01-02T00:00", "max_running": "", "confirmed": "1", **changes}
    assert complaint in _text(operator.post(_backfill(schedule), asked))
    assert not Backfill.objects.exists()


def test_who_may_only_look_cannot_backfill(viewer: Client, hourly: Callable[..., Schedule], admin_user: User) -> None:
    schedule = hourly()
    page = _text(viewer.get(reverse("admin:jobs_job_change", args=[schedule.job_id])))
    assert _fires(schedule) in page and "Backfill" not in page
    assert viewer.get(UPCOMING).status_code == 200
    assert viewer.get(_backfill(schedule)).status_code == 403
    assert viewer.post(_backfill(schedule), {"confirmed": "1"}).status_code == 403
    stranger = _signed_in("stranger")
    for address in (UPCOMING, _fires(schedule), _backfill(schedule)):
        assert stranger.get(address).status_code == 403
        assert Client().get(address).status_code == 302
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(admin_user)
    assert strict.post(_backfill(schedule), {"confirmed": "1"}).status_code == 403


def test_a_deleted_job_is_not_backfilled(operator: Client, hourly: Callable[..., Schedule]) -> None:
    schedule = hourly()
    address = _backfill(schedule)
    definitions.remove(_job(schedule), actor="test")
    assert operator.get(address).status_code == 404


def test_hostile_names_in_the_look_ahead_are_text(operator: Client, hourly: Callable[..., Schedule]) -> None:
    schedule = hourly()
    scheduling.fire_due()
    Schedule.objects.filter(pk=schedule.pk).update(timetable={"kind": "<script>alert(1)</script>"})
    Schedule.objects.filter(pk=schedule.pk).update(next_fire_at=timezone.now() + HOUR, stale=False)
    page = _text(operator.get(UPCOMING))
    assert "<script>alert" not in page and "&lt;script&gt;" in page


def test_a_schedule_counted_within_months_has_its_pages_too(operator: Client, project: Project) -> None:
    definitions.save(JobSpec(name="Monthly", run="true", schedule="0 3 L * *"), actor="test")
    schedule = Schedule.objects.get(job__name="Monthly")
    assert operator.get(_fires(schedule)).context["total"] == 0
    assert "last day" in _text(operator.get(_backfill(schedule)))
