"""Periodic tasks and queues in the admin: theirs with our policies, and schedules of kinds they do not know."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from jobs.models import Job, Project, Queue, Schedule
from jobs.services import definitions, scheduling
from jobsched.domain.specs import JobSpec
from tests.integration.api import signed_in

TASKS, QUEUES = "/admin/django_celery_beat/periodictask/", "/admin/jobs/queue/"


@pytest.fixture
def viewer(db: None) -> Client:
    """Staff who may look at periodic tasks and queues, and no more."""
    user = User.objects.create(username="viewer", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=("view_periodictask", "view_queue")))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def plain(db: None) -> PeriodicTask:
    """A periodic task that names a plain Celery task."""
    interval = IntervalSchedule.objects.create(every=10, period="minutes")
    return PeriodicTask.objects.create(name="Remind", task="shop.remind", interval=interval)


@pytest.fixture
def ruled(db: None) -> PeriodicTask:
    """The schedule of a job, of a kind that django-celery-beat has no row for."""
    Project.objects.get_or_create(name="default")
    spec = JobSpec(name="Ruled", run="true", schedule="RRULE:FREQ=MONTHLY;BYDAY=2TU;BYHOUR=9")
    definitions.save(spec, actor="test")
    return PeriodicTask.objects.get(jobs_schedule__job__name="Ruled")


def _page(task: PeriodicTask) -> str:
    return f"{TASKS}{task.pk}/change/"


def _sent(client: Client, address: str, **changes: str) -> dict[str, Any]:
    """What a browser sends for a form nobody touched, but for `changes`."""
    form = client.get(address).context["adminform"].form
    data = {}
    for bound in form:
        value = bound.value()
        if value is None or value is False:
            continue
        data[bound.html_name] = "on" if value is True else bound.field.prepare_value(value)
    return {**data, **changes}


def _saved(client: Client, address: str, **changes: str) -> None:
    response = client.post(address, _sent(client, address, **changes))
    assert response.status_code == 302, response.context["adminform"].form.errors


def test_policies_of_a_plain_task_are_saved_and_the_rest_of_its_row_stays(
    admin_client: Client, plain: PeriodicTask
) -> None:
    Schedule.objects.update(exclusions={"exclude": ["12-24"]})  # as SQL would write it, without what has a default
    scheduling.refresh_edited()
    before = Schedule.objects.values().get(pk=plain.pk)
    _saved(admin_client, _page(plain))
    assert Schedule.objects.values().get(pk=plain.pk) == before

    _saved(admin_client, _page(plain), catch_up="all", catch_up_window="2h", catch_up_limit="7")
    after = Schedule.objects.values().get(pk=plain.pk)
    assert after == {**before, "catch_up": "all", "catch_up_window": timedelta(hours=2), "catch_up_limit": 7}

    changes = {"jitter": "90s", "exclude": "12-25\r\n12-26", "blackout": "22:00-06:00"}
    _saved(admin_client, _page(plain), **changes, exclusions_zone="Europe/Berlin")
    row = Schedule.objects.get(pk=plain.pk)
    assert row.jitter == timedelta(seconds=90)
    assert row.exclusions == {
        "exclude": ["12-25", "12-26"],
        "blackout": ["22:00-06:00"],
        "timezone": "Europe/Berlin",
    }
    assert row.stale and row.catch_up == "all"  # beat works its next fire out anew
    _saved(admin_client, _page(plain), exclude="", blackout="")
    assert Schedule.objects.get(pk=plain.pk).exclusions is None


def test_a_new_plain_task_is_made_with_its_policies(admin_client: Client, db: None) -> None:
    crontab = CrontabSchedule.objects.create(minute="0", hour="3")
    _saved(admin_client, f"{TASKS}add/", name="New", task="shop.new", crontab=str(crontab.pk), jitter="5m")
    assert Schedule.objects.get(periodic_task__name="New").jitter == timedelta(minutes=5)


@pytest.mark.parametrize(
    ("changes", "field", "complaint"),
    [
        ({"catch_up_window": "soon"}, "catch_up_window", "duration"),
        ({"catch_up_limit": "0"}, "catch_up_limit", "least is 1"),
        ({"jitter": "2d"}, "jitter", "too long"),
        ({"exclude": "12-25\nxmas"}, "exclude", "entry 2"),
        ({"blackout": "25:00-26:00"}, "blackout", "entry 1"),
        ({"exclusions_zone": "Mars/Olympus"}, "exclusions_zone", "valid choice"),
        ({"task": ""}, "task", "Need name of task"),
    ],
)
def test_what_is_wrong_with_a_plain_task_stands_beside_its_field(
    changes: dict[str, str], field: str, complaint: str, admin_client: Client, plain: PeriodicTask
) -> None:
    response = admin_client.post(_page(plain), _sent(admin_client, _page(plain), **changes))
    assert response.status_code == 200
    errors = response.context["adminform"].form.errors
    assert complaint in " ".join(errors[field])
    assert Schedule.objects.get(pk=plain.pk).catch_up_limit == 100


def test_who_may_only_look_sees_the_policies(viewer: Client, plain: PeriodicTask) -> None:
    Schedule.objects.update(exclusions={"exclude": ["12-25"], "blackout": [], "timezone": "UTC"})
    page = viewer.get(_page(plain)).content.decode()
    assert "12-25" in page and 'name="_save"' not in page
    assert viewer.post(_page(plain), {"catch_up": "none"}).status_code == 403


def test_a_schedule_of_a_kind_they_do_not_know_is_shown_in_words(admin_client: Client, ruled: PeriodicTask) -> None:
    job = reverse("admin:jobs_job_change", args=[Schedule.objects.get(pk=ruled.pk).job_id])
    for address in (TASKS, _page(ruled)):
        page = admin_client.get(address).content.decode()
        assert "second Tuesday" in page and job in page
    assert 'name="_save"' not in admin_client.get(_page(ruled)).content.decode()
    assert admin_client.post(_page(ruled), {"name": "Other"}).status_code == 403


def test_rows_without_any_schedule_are_shown(admin_client: Client, plain: PeriodicTask) -> None:
    PeriodicTask.objects.update(interval=None)
    Schedule.objects.all().delete()
    for address in (TASKS, _page(plain), "/admin/django_celery_beat/intervalschedule/"):
        assert admin_client.get(address).status_code == 200


@pytest.fixture
def nightly(db: None) -> PeriodicTask:
    """The schedule of a job, of a kind that django-celery-beat has a row for."""
    Project.objects.get_or_create(name="default")
    definitions.save(JobSpec(name="Nightly", run="true", schedule="0 3 * * *"), actor="test")
    return PeriodicTask.objects.get(jobs_schedule__job__name="Nightly")


@pytest.fixture
def changer(db: None) -> Client:
    """Staff who may do anything to periodic tasks and the rows that they share, and may not even see jobs."""
    user = User.objects.create(username="changer", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="django_celery_beat"))
    client = Client()
    client.force_login(user)
    return client


def _as_it_was(task: PeriodicTask) -> bool:
    """Tell whether a row still is what it was, and its job still has its schedule."""
    now = PeriodicTask.objects.filter(pk=task.pk).values().first()
    same = now == {name: getattr(task, name) for name in now or {}}
    return same and Schedule.objects.filter(pk=task.pk, job__isnull=False).exists()


@pytest.mark.parametrize("who", ["admin_client", "changer"])
def test_the_schedule_of_a_job_is_read_only_and_leads_to_its_job(
    who: str, request: pytest.FixtureRequest, nightly: PeriodicTask
) -> None:
    client = request.getfixturevalue(who)
    job = reverse("admin:jobs_job_change", args=[Schedule.objects.get(pk=nightly.pk).job_id])
    for address in (TASKS, _page(nightly)):
        page = client.get(address).content.decode()
        assert f'href="{job}"' in page and "change it there" in page
    page = client.get(_page(nightly)).content.decode()
    assert 'name="_save"' not in page and "deletelink" not in page and 'name="catch_up"' not in page
    assert client.post(_page(nightly), {"name": "Other", "task": "x", "enabled": ""}).status_code == 403
    assert client.post(f"{TASKS}{nightly.pk}/delete/", {"post": "yes"}).status_code == 403
    assert _as_it_was(nightly)


@pytest.mark.parametrize("who", ["admin_client", "changer"])
@pytest.mark.parametrize("across", ["0", "1"])
@pytest.mark.parametrize("action", ["enable_tasks", "disable_tasks", "toggle_tasks", "run_tasks", "delete_selected"])
def test_no_action_touches_the_schedules_of_jobs(
    action: str, across: str, who: str, request: pytest.FixtureRequest, nightly: PeriodicTask, ruled: PeriodicTask
) -> None:
    client = request.getfixturevalue(who)
    chosen = {"action": action, "_selected_action": [nightly.pk, ruled.pk], "select_across": across, "post": "yes"}
    page = client.post(TASKS, chosen, follow=True).content.decode()
    assert "Left out: 2 schedules of jobs" in page and "Nightly" in page
    assert _as_it_was(nightly) and _as_it_was(ruled)


def test_an_action_is_done_to_the_plain_tasks_among_the_chosen(
    changer: Client, plain: PeriodicTask, nightly: PeriodicTask
) -> None:
    both = {"_selected_action": [plain.pk, nightly.pk]}
    page = changer.post(TASKS, {"action": "disable_tasks", **both}, follow=True).content.decode()
    assert "Left out: the schedule of the job" in page and "1 task was successfully disabled" in page
    plain.refresh_from_db()
    assert not plain.enabled and _as_it_was(nightly)
    page = changer.post(TASKS, {"action": "delete_selected", **both}).content.decode()
    assert "Remind" in page and f'value="{nightly.pk}"' not in page
    changer.post(TASKS, {"action": "delete_selected", "post": "yes", **both})
    assert not PeriodicTask.objects.filter(pk=plain.pk).exists() and _as_it_was(nightly)


@pytest.mark.parametrize("who", ["admin_client", "changer"])
def test_a_row_that_a_job_uses_cannot_be_deleted_with_the_schedule_of_the_job(
    who: str, request: pytest.FixtureRequest, nightly: PeriodicTask
) -> None:
    client = request.getfixturevalue(who)
    crontabs = "/admin/django_celery_beat/crontabschedule/"
    assert client.post(f"{crontabs}{nightly.crontab_id}/delete/", {"post": "yes"}).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [nightly.crontab_id], "post": "yes"}
    assert client.post(crontabs, chosen).status_code == 403
    assert _as_it_was(nightly) and CrontabSchedule.objects.filter(pk=nightly.crontab_id).exists()


def test_a_schedule_that_is_switched_off_shows_no_next_fire(admin_client: Client, nightly: PeriodicTask) -> None:
    scheduling.refresh_edited()
    address = reverse("admin:jobs_job_changelist")
    assert "<time" in admin_client.get(address).content.decode()
    PeriodicTask.objects.filter(pk=nightly.pk).update(enabled=False)
    page = admin_client.get(address).content.decode()
    assert "<time" not in page and '<td class="field-next_fire">switched off</td>' in page
    assert signed_in().get("/api/v1/jobs/Nightly").json()["next_fire_at"] is None


def test_a_schedule_that_is_switched_off_is_resumed_on_the_page_of_its_job(
    admin_client: Client, nightly: PeriodicTask
) -> None:
    job = Job.objects.get()
    resume = reverse("admin:jobs_job_resume", args=[job.pk])
    assert resume not in admin_client.get(f"/admin/jobs/job/{job.pk}/change/").content.decode()
    PeriodicTask.objects.filter(pk=nightly.pk).update(enabled=False)
    assert resume in admin_client.get(f"/admin/jobs/job/{job.pk}/change/").content.decode()
    admin_client.post(resume)
    assert _as_it_was(nightly) and not Schedule.objects.get(pk=nightly.pk).switched_off


def _by_orm(task: PeriodicTask) -> None:
    PeriodicTask.objects.get(pk=task.pk).delete()


def _by_sql(task: PeriodicTask) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_celery_beat_periodictask WHERE id = %s", [task.pk])


def _by_taking_it_from_the_job(task: PeriodicTask) -> None:
    Schedule.objects.filter(pk=task.pk).update(job=None)


@pytest.mark.parametrize("delete", [_by_orm, _by_sql, _by_taking_it_from_the_job])
def test_a_deletion_behind_our_back_is_shown_on_the_job_and_among_its_fires(
    delete: Callable[[PeriodicTask], None], admin_client: Client, nightly: PeriodicTask
) -> None:
    job = Job.objects.get()
    delete(nightly)
    words = "schedule was deleted outside of jobsched at"
    assert words in admin_client.get("/admin/jobs/job/").content.decode()
    page = admin_client.get(f"/admin/jobs/job/{job.pk}/change/").content.decode()
    assert words in page and "by the database role" in page and "runs on request only" in page
    fires = admin_client.get(f"/admin/jobs/job/{job.pk}/fires/").content.decode()
    assert "outside of jobsched" in fires and "by the database role" in fires

    api = signed_in()
    assert words in api.get("/api/v1/jobs/Nightly").json()["words"]
    assert words in api.get("/api/v1/jobs/Nightly/next").json()["words"]
    period = {"from": "2026-01-01T00:00:00Z", "to": (timezone.now() + timedelta(minutes=1)).isoformat()}
    [deletion] = api.get("/api/v1/jobs/Nightly/fires", period).json()["deletions"]
    assert deletion["outside"] is True and "database role" in deletion["by"]

    definitions.save(JobSpec(name="Nightly", run="true", schedule="0 4 * * *"), actor="ada")
    assert words not in admin_client.get(f"/admin/jobs/job/{job.pk}/change/").content.decode()
    assert len(api.get("/api/v1/jobs/Nightly/fires", period).json()["deletions"]) == 1


def test_a_schedule_that_a_verb_takes_away_is_no_warning(admin_client: Client, nightly: PeriodicTask) -> None:
    job = Job.objects.get()
    definitions.save(JobSpec(name="Nightly", run="true"), actor="ada")
    page = admin_client.get(f"/admin/jobs/job/{job.pk}/change/").content.decode()
    assert "outside of jobsched" not in page
    fires = admin_client.get(f"/admin/jobs/job/{job.pk}/fires/").content.decode()
    assert "by ada" in fires and "outside of jobsched" not in fires


def test_a_queue_gets_a_rate_and_loses_it(admin_client: Client) -> None:
    _saved(admin_client, f"{QUEUES}add/", name="default", rate=" 100 / m ")
    assert Queue.objects.get().rate == "100/m"
    Queue.objects.update(next_at="2026-01-01T00:00Z")
    address = f"{QUEUES}default/change/"
    _saved(admin_client, address)
    assert Queue.objects.get().next_at is not None
    _saved(admin_client, address, rate="5/s")
    assert "5/s" in admin_client.get(QUEUES).content.decode()
    _saved(admin_client, address, rate="")
    assert Queue.objects.get().rate == ""
    assert admin_client.post(f"{QUEUES}default/delete/", {"post": "yes"}).status_code == 403


@pytest.mark.parametrize(
    ("sent", "field", "complaint"),
    [
        ({"name": "default", "rate": "often"}, "rate", "is not a rate"),
        ({"name": "default", "rate": "0/s"}, "rate", "from 1 to"),
        ({"name": "nowhere", "rate": "1/s"}, "name", "valid choice"),
    ],
)
def test_what_is_wrong_with_a_queue_stands_beside_its_field(
    sent: dict[str, str], field: str, complaint: str, admin_client: Client
) -> None:
    errors = admin_client.post(f"{QUEUES}add/", sent).context["adminform"].form.errors
    assert complaint in " ".join(errors[field])
    assert not Queue.objects.exists()


def test_who_may_only_look_cannot_change_a_rate(viewer: Client) -> None:
    Queue.objects.create(name="default", rate="1/s")
    assert "1/s" in viewer.get(f"{QUEUES}default/change/").content.decode()
    assert viewer.post(f"{QUEUES}default/change/", {"rate": "2/s"}).status_code == 403
    assert viewer.get(f"{QUEUES}add/").status_code == 403
    assert Queue.objects.get().rate == "1/s"


def test_crontabs_are_shown_in_words_that_are_true(admin_client: Client, plain: PeriodicTask) -> None:
    crontab = CrontabSchedule.objects.create(minute="*/31", timezone="UTC")
    PeriodicTask.objects.filter(pk=plain.pk).update(interval=None, crontab=crontab)
    rows = "/admin/django_celery_beat/crontabschedule/"
    for address in (rows, f"{rows}{crontab.pk}/change/", _page(plain)):
        page = admin_client.get(address).content.decode()
        assert "at minutes 0 and 31 of every hour" in page
        assert "31 minutes" not in page
    assert admin_client.get(f"{rows}add/").status_code == 200
