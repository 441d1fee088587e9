"""Periodic tasks and queues in the admin: theirs with our policies, and schedules of kinds they do not know."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from jobs.models import Project, Queue, Schedule
from jobs.services import definitions, scheduling
from jobsched.domain.specs import JobSpec

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
    admin_client.post(TASKS, {"action": "disable_tasks", "_selected_action": ruled.pk})
    ruled.refresh_from_db()
    assert not ruled.enabled
    assert "switched off" in admin_client.get("/admin/jobs/job/").content.decode()


def test_rows_without_any_schedule_are_shown(admin_client: Client, plain: PeriodicTask) -> None:
    PeriodicTask.objects.update(interval=None)
    Schedule.objects.all().delete()
    for address in (TASKS, _page(plain), "/admin/django_celery_beat/intervalschedule/"):
        assert admin_client.get(address).status_code == 200


def test_the_schedule_of_a_job_has_its_policies_there(admin_client: Client, db: None) -> None:
    Project.objects.get_or_create(name="default")
    definitions.save(JobSpec(name="Nightly", run="true", schedule="0 3 * * *"), actor="test")
    task = PeriodicTask.objects.get(jobs_schedule__job__name="Nightly")
    assert 'name="catch_up"' not in admin_client.get(_page(task)).content.decode()
    _saved(admin_client, _page(task))
    assert Schedule.objects.get(pk=task.pk).catch_up == "latest"


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
