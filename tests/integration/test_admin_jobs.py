"""Jobs in the admin: one form that JobSpec judges, and verbs that services carry out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import current_app
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.html import escape
from django_celery_beat.models import PeriodicTask

from jobs.admin.job_form import JobForm, initial_of
from jobs.admin.schedule_form import ScheduleForm
from jobs.models import Definition, Job, Project, Run, Schedule
from jobs.services import control, definitions
from jobsched.domain.specs import JobSpec

ADD_UP = "tests.sample_callables:add"
LIST, ADD, PREVIEW, RUN = (f"/admin/jobs/job/{path}" for path in ("", "add/", "preview/", "run/"))


def _signed_in(name: str, *codenames: str) -> Client:
    user = User.objects.create_user(name, password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def viewer(db: None) -> Client:
    """Staff who may look at jobs, and no more."""
    return _signed_in("viewer", "view_job")


@pytest.fixture
def default_project(db: None) -> Project:
    return Project.objects.get_or_create(name="default")[0]


def _filled(default_project: Project, **changes: Any) -> dict[str, Any]:
    """What a browser sends for the form of a new job."""
    form = JobForm(initial={"project": default_project.pk})
    return {**_sent(form), "name": "Nightly", "run": "true", **changes}


def _sent(form: JobForm) -> dict[str, Any]:
    """What a browser sends for a form nobody touched: disabled fields and empty boxes not at all."""
    data = {}
    for bound in form:
        value = bound.field.prepare_value(bound.initial)
        if bound.field.disabled or value is None or value is False:
            continue
        data[bound.html_name] = "on" if value is True else value
    return data


def _make(**keys: Any) -> Job:
    spec = JobSpec.model_validate({"name": "Nightly", **({"run": "true"} if _no_work(keys) else {}), **keys})
    definitions.save(spec, project="default", actor="test")
    return control.find(spec.name)


def _no_work(keys: dict[str, Any]) -> bool:
    return not keys.keys() & {"run", "steps", "http", "call", "task"}


@pytest.mark.parametrize(
    ("fields", "kind", "spec"),
    [
        ({"kind": "shell", "run": "make\r\nmake test\r\n"}, "shell", {"command": "make\nmake test\n"}),
        (
            {"kind": "steps", "steps": "- name: Build\n  run: go build\n- {name: Test, run: go test}\n"},
            "steps",
            {"steps": [{"name": "Build", "run": "go build"}, {"name": "Test", "run": "go test"}]},
        ),
        ({"kind": "python", "call": ADD_UP}, "python", {"call": ADD_UP}),
    ],
)
def test_each_kind_has_its_editor(
    fields: dict[str, Any], kind: str, spec: dict[str, Any], admin_client: Client, default_project: Project
) -> None:
    response = admin_client.post(ADD, _filled(default_project, **fields))
    assert response.status_code == 302, response.context["adminform"].form.errors
    job = control.find("Nightly")
    assert (job.kind, job.spec) == (kind, spec)


def test_an_http_job_is_made_of_its_fields(admin_client: Client, default_project: Project) -> None:
    sent = _filled(
        default_project,
        kind="http",
        http_url="https://example.com/hook",
        http_method="POST",
        http_headers='{"Accept": "text/plain"}',
        http_body='{"a": 1}',
        http_json="on",
        http_expected_status="200, 204",
        http_timeout="5s",
    )
    assert admin_client.post(ADD, sent).status_code == 302
    spec = control.find("Nightly").spec
    assert spec["body"] == {"a": 1}
    assert spec["expected_status"] == [200, 204]
    assert spec["timeout_seconds"] == 5
    assert spec["headers"] == {"Accept": "text/plain"}


@pytest.fixture
def remind_task() -> Iterator[str]:
    """A task of the Celery app with limits and retries of its own."""

    @current_app.task(name="shop.remind", max_retries=5, soft_time_limit=60, time_limit=70)
    def remind(customer: int) -> None:
        """Nothing to do."""

    yield remind.name
    current_app.tasks.unregister("shop.remind")


def test_a_celery_task_keeps_its_own_policy_through_the_form(
    remind_task: str, admin_client: Client, default_project: Project
) -> None:
    sent = _filled(default_project, kind="celery", task=remind_task, args="[7]")
    assert admin_client.post(ADD, sent).status_code == 302
    job = control.find("Nightly")
    assert job.spec == {"task": remind_task, "args": [7], "own_retries": True}
    assert (job.retries, job.timeout, job.grace) == ({"max": 5}, timedelta(seconds=60), timedelta(seconds=10))
    assert admin_client.post(f"{LIST}{job.pk}/change/", _sent(JobForm(instance=job))).status_code == 302
    assert Definition.objects.filter(job=job).count() == 1


def test_limits_retries_and_schedule_are_saved_together(admin_client: Client, default_project: Project) -> None:
    sent = _filled(
        default_project,
        when="cron",
        cron="30 2 * * 1-5",
        timezone="Europe/Berlin",
        timeout="5m",
        retries_max="3",
        retries_backoff="2s",
        retries_exit_codes="1, 75",
        retries_strategy="linear",
        retries_jitter="yes",
        max_wait="10m",
        deadline="1h",
        params='{"customer": 7}',
        env='{"LANG": "C"}',
        priority="8",
    )
    response = admin_client.post(ADD, sent, follow=True)
    job = control.find("Nightly")
    assert job.timeout is not None and job.timeout.total_seconds() == 300
    assert (job.max_wait, job.deadline) == (timedelta(minutes=10), timedelta(hours=1))
    assert job.retries == {
        "max": 3,
        "backoff": "2s",
        "strategy": "linear",
        "jitter": True,
        "exit_codes": [1, 75],
    }
    assert (job.params, job.env, job.priority) == ({"customer": 7}, {"LANG": "C"}, 8)
    crontab = Schedule.objects.get(job=job).periodic_task.crontab
    assert (crontab.minute, crontab.hour, str(crontab.timezone)) == ("30", "2", "Europe/Berlin")
    assert "was added successfully" in response.content.decode()


@pytest.mark.parametrize(
    "keys",
    [
        {"run": "make\nmake test\n", "description": "two\nlines", "on_lost": "fail", "timeout": None, "grace": "1s"},
        {"run": "make &", "background": "fail"},
        {"schedule": "0 2 * * 1-5", "timezone": "Europe/Berlin", "run_once": True},
        {"schedule": "90s", "paused": True},
        {"at": "2999-03-01 12:30:15", "timezone": "Asia/Tokyo"},
        {"steps": [{"name": "Build", "run": "a\nb\n", "env": {"A": "1"}, "timeout": "5s"}, {"name": "T", "run": "c"}]},
        {"http": "https://example.com/"},
        {
            "http": {
                "url": "https://example.com/${params.path}",
                "method": "PUT",
                "body": {"a": [1, None]},
                "expected_status": 204,
                "max_bytes": 10,
                "follow_redirects": False,
            }
        },
        {"call": ADD_UP, "params": {"obj": {"ü": [1, 2.5, None]}}, "env": {"A": "ü"}},
        {
            "retries": {
                "max": 4,
                "backoff": "1m30s",
                "failures": ["failed"],
                "exceptions": ["OSError"],
                "statuses": [503],
            }
        },
        {"retries": 2, "queue": "default", "priority": 0},
        {"retries": {"max": 2, "strategy": "linear", "jitter": True}, "max_wait": "1h30m", "deadline": "1d"},
        {"retries": {"max": 2, "strategy": "fixed"}, "deadline": "500ms"},
        {"retries": {"max": 2, "jitter": False}, "max_wait": "5s"},
        {"schedule": "30 2 L * *", "timezone": "Europe/Berlin", "start": "2026-01-01 00:00", "end": "2999-01-01 00:00"},
        {"schedule": "RRULE:FREQ=MONTHLY;BYDAY=2TU;BYHOUR=9", "run_once": True},
        {"schedule": "DTSTART:20260101T090000\nRRULE:FREQ=DAILY;INTERVAL=2", "timezone": "Asia/Tokyo"},
        {"schedule": "1h", "start": "2999-10-27T00:30:00Z", "exclude": ["12-25"], "timezone": "Europe/Berlin"},
        {
            "schedule": "15m",
            "catch_up": {"policy": "all", "window": "2h", "limit": 7},
            "jitter": "1m30s",
            "exclude": ["2026-12-24..2027-01-02", "05-01"],
            "blackout": ["22:00-06:00", "sat,sun"],
        },
        {"overlap": "replace", "concurrency_key": "customer-{customer}", "max_running": 3, "rate": "100/m"},
        {"overlap": "skip", "unique": True},
    ],
    ids=lambda keys: "-".join(keys),
)
def test_saving_an_untouched_form_changes_nothing(
    keys: dict[str, Any], admin_client: Client, default_project: Project
) -> None:
    job = _make(**keys)
    before, scheduled = definitions.manifest(job), Schedule.objects.filter(job=job).values().first()
    response = admin_client.post(f"{LIST}{job.pk}/change/", _sent(JobForm(instance=job)))
    assert response.status_code == 302, response.context["adminform"].form.errors
    again = control.find("Nightly")
    assert definitions.manifest(again) == before
    assert Schedule.objects.filter(job=job).values().first() == scheduled
    assert Definition.objects.filter(job=job).count() == 1
    assert initial_of(again) == initial_of(job)


@pytest.mark.parametrize(
    ("changes", "field", "complaint"),
    [
        ({"name": "/etc"}, "name", "letter or digit first"),
        ({"run": " "}, "run", "Write the command"),
        ({"kind": "steps", "steps": "- name: ["}, "steps", "not YAML in line 1"),
        ({"kind": "steps", "steps": "name: a"}, "steps", "must be a list"),
        ({"kind": "steps", "steps": "- &a {name: a, run: b}\n- *a"}, "steps", "aliases"),
        ({"kind": "steps", "steps": "- name: a\n  ruin: b"}, "steps", "entry 1"),
        ({"kind": "steps", "steps": "- {name: a, run: b}\n- {name: a, run: b}"}, "steps", "wo steps are named"),
        ({"kind": "http", "http_url": "ftp://x"}, "http_url", "not a URL of http"),
        ({"kind": "http", "http_url": "http://x", "http_headers": "["}, "http_headers", "not JSON"),
        ({"kind": "http", "http_url": "http://x", "http_expected_status": "99"}, "http_expected_status", "100"),
        ({"kind": "http", "http_url": "http://x", "http_body": "{", "http_json": "on"}, "http_body", "not JSON"),
        ({"kind": "python", "call": "os system"}, "call", "package.module:function"),
        ({"kind": "python", "call": "nowhere.at.all:nothing"}, "call", "nowhere"),
        ({"kind": "python", "call": "tests.nowhere:nothing"}, "call", "No module named 'tests.nowhere'"),
        ({"kind": "python", "call": "os:getenv"}, "call", "defined in tests, examples, or allow more with"),
        ({"kind": "celery", "task": "shop.nothing"}, "task", "valid choice"),
        ({"kind": "celery"}, "task", "Choose a task"),
        ({"when": "cron", "cron": ""}, "cron", "Write a cron string"),
        ({"when": "cron", "cron": "61 * * * *"}, "cron", "61"),
        ({"when": "cron", "cron": "0 0 13 * 5"}, "cron", "both day of month and day of week"),
        ({"when": "cron", "cron": "0 0 30 2 *"}, "cron", "never comes"),
        ({"when": "every", "every": "soon"}, "every", "duration"),
        ({"when": "at", "at": "2001-01-01T00:00"}, "at", "past"),
        ({"when": "at", "at": "tomorrow"}, "at", "not a moment"),
        ({"timezone": "Mars/Olympus"}, "timezone", "valid choice"),
        ({"params": "[1]"}, "params", "must be an object"),
        ({"env": '{"JOBSCHED_X": "1"}'}, "env", "belong to the scheduler"),
        ({"priority": "10"}, "priority", "less than or equal to 9"),
        ({"queue": "nowhere"}, "queue", "valid choice"),
        ({"timeout": "long"}, "timeout", "duration"),
        ({"retries_max": "1", "retries_backoff": "often"}, "retries_backoff", "duration"),
        ({"retries_backoff": "5s"}, "retries_max", "Say how many"),
        ({"retries_strategy": "linear"}, "retries_max", "Say how many"),
        ({"retries_max": "1", "retries_strategy": "random"}, "retries_strategy", "valid choice"),
        ({"retries_max": "1", "retries_jitter": "some"}, "retries_jitter", "valid choice"),
        ({"max_wait": "long"}, "max_wait", "duration"),
        ({"deadline": "-1"}, "deadline", "duration"),
        ({"retries_max": "1", "retries_exit_codes": "300"}, "retries_exit_codes", "255"),
        ({"when": "rrule", "rrule": " "}, "rrule", "Write a rule"),
        ({"when": "rrule", "rrule": "RRULE:FREQ=SOMETIMES"}, "rrule", "FREQ must be one of"),
        ({"when": "every", "every": "1h", "start": "tomorrow"}, "start", "not a moment"),
        (
            {"when": "every", "every": "1h", "start": "2026-02-01 00:00", "end": "2026-01-01 00:00"},
            "end",
            "not after the start",
        ),
        (
            {"when": "cron", "cron": "0 2 * * *", "timezone": "Europe/Berlin", "start": "2027-03-28 02:30"},
            "start",
            "does not exist in Europe/Berlin",
        ),
        ({"when": "every", "every": "1h", "catch_up_window": "0s"}, "catch_up_window", "longer"),
        ({"when": "every", "every": "1h", "catch_up_limit": "0"}, "catch_up_limit", "least is 1"),
        ({"when": "every", "every": "1h", "jitter": "2d"}, "jitter", "too long"),
        ({"when": "every", "every": "1h", "exclude": "12-25\nxmas"}, "exclude", "entry 2"),
        ({"when": "every", "every": "1h", "blackout": "25:00-26:00"}, "blackout", "entry 1"),
        ({"max_running": "0"}, "max_running", "least is 1"),
        ({"rate": "often"}, "rate", "not a rate"),
        ({"concurrency_key": "customer-{"}, "concurrency_key", "customer-{"),
        ({"concurrency_key": "customer-{customer}", "overlap": "allow"}, "concurrency_key", "keeps runs apart"),
    ],
)
def test_what_is_wrong_stands_beside_its_field(
    changes: dict[str, Any], field: str, complaint: str, admin_client: Client, default_project: Project
) -> None:
    response = admin_client.post(ADD, _filled(default_project, **changes))
    assert response.status_code == 200
    errors = response.context["adminform"].form.errors
    assert list(errors) == [field]
    assert complaint in " ".join(errors[field])
    assert not Job.objects.exists()


def test_a_name_is_taken_once(admin_client: Client, default_project: Project) -> None:
    _make()
    response = admin_client.post(ADD, _filled(default_project))
    assert "has a job of this name already" in str(response.context["adminform"].form.errors["name"])


def test_name_and_project_of_a_saved_job_stay(admin_client: Client, default_project: Project) -> None:
    job = _make()
    admin_client.post(f"{LIST}{job.pk}/change/", {**_sent(JobForm(instance=job)), "name": "Other", "run": "false"})
    assert [(j.name, j.spec) for j in Job.objects.all()] == [("Nightly", {"command": "false"})]


def test_preview_tells_the_schedule_in_words_and_five_fires(admin_client: Client) -> None:
    asked = {"when": "cron", "cron": "0 2 * * *", "timezone": "Europe/Berlin"}
    answer = admin_client.post(PREVIEW, asked).json()
    assert "02:00" in answer["words"] and not answer["wrong"]
    assert len(answer["fires"]) == 5
    assert all(" 02:00:00 CE" in fire and "UTC" in fire for fire in answer["fires"])
    once = admin_client.post(PREVIEW, {"when": "every", "every": "90s", "run_once": "on", "timezone": "UTC"}).json()
    assert len(once["fires"]) == 1


@pytest.mark.parametrize(
    "asked",
    [
        {"when": "cron", "cron": "61 * * * *"},
        {"when": "cron", "cron": ""},
        {"when": "every", "every": "1h", "exclude": "xmas"},
        {"when": "every", "every": "1h", "catch_up": "some"},
        {"when": "?"},
        {},
    ],
)
def test_preview_says_what_is_wrong(asked: dict[str, str], admin_client: Client) -> None:
    answer = admin_client.post(PREVIEW, {"timezone": "UTC", **asked}).json()
    assert answer["wrong"] and answer["words"] and answer["fires"] == []


def test_preview_is_for_staff_who_may_edit(viewer: Client, admin_user: User) -> None:
    assert viewer.post(PREVIEW, {"when": "request"}).status_code == 403
    assert Client().post(PREVIEW, {"when": "request"}).status_code == 302
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(admin_user)
    assert strict.post(PREVIEW, {"when": "request"}).status_code == 403
    assert strict.get(PREVIEW).status_code == 405


def test_preview_shows_what_is_skipped_and_why(admin_client: Client) -> None:
    asked = {"when": "every", "every": "6h", "blackout": "00:00-12:00", "timezone": "Europe/Berlin"}
    answer = admin_client.post(PREVIEW, asked).json()
    assert len(answer["fires"]) == 5
    assert answer["skipped"] and all(
        line.endswith("blackout 00:00-12:00 (Europe/Berlin)") for line in answer["skipped"]
    )


def test_preview_says_that_jitter_comes_on_top(admin_client: Client, default_project: Project) -> None:
    answer = admin_client.post(PREVIEW, {"when": "every", "every": "1h", "jitter": "5m", "timezone": "UTC"}).json()
    assert answer["words"] == "Every hour. Each up to 5m later, always by the same part of it."
    job = _make(schedule="1h", jitter="5m")
    assert answer["words"] in admin_client.get(f"{LIST}{job.pk}/change/").content.decode()


def test_preview_warns_of_what_a_clock_change_moves(admin_client: Client, default_project: Project) -> None:
    asked = {"when": "cron", "cron": "30 2 * * *", "timezone": "Europe/Berlin"}
    answer = admin_client.post(PREVIEW, asked).json()
    assert len(answer["warnings"]) >= 2
    job = _make(schedule="30 2 * * *", timezone="Europe/Berlin")
    page = admin_client.get(f"{LIST}{job.pk}/change/").content.decode()
    assert all(escape(warning) in page for warning in answer["warnings"])
    assert admin_client.post(PREVIEW, {**asked, "timezone": "UTC"}).json()["warnings"] == []


def test_limits_beside_each_other_and_policies_are_saved(admin_client: Client, default_project: Project) -> None:
    sent = _filled(
        default_project,
        when="every",
        every="15m",
        catch_up="all",
        catch_up_window="2h",
        catch_up_limit="7",
        jitter="90s",
        exclude="12-25\r\n\r\n 12-26 ",
        blackout="22:00-06:00",
        timezone="Europe/Berlin",
        overlap="skip",
        max_running="3",
        rate="100/m",
        unique="on",
    )
    response = admin_client.post(ADD, sent)
    assert response.status_code == 302, response.context["adminform"].form.errors
    job = control.find("Nightly")
    assert (job.overlap, job.max_running, job.rate, job.unique_waiting) == ("skip", 3, "100/m", True)
    schedule = Schedule.objects.get(job=job)
    assert (schedule.catch_up, schedule.catch_up_window, schedule.catch_up_limit) == ("all", timedelta(hours=2), 7)
    assert schedule.jitter == timedelta(seconds=90)
    assert schedule.exclusions == {
        "exclude": ["12-25", "12-26"],
        "blackout": ["22:00-06:00"],
        "timezone": "Europe/Berlin",
    }


def test_a_moment_that_comes_twice_is_shown_with_its_offset() -> None:
    shown = ScheduleForm.initial_from(
        {"schedule": "1h", "timezone": "Europe/Berlin", "start": "2027-10-31 01:30+00:00"}
    )
    assert shown["start"] == "2027-10-31 02:30:00+01:00"
    shown = ScheduleForm.initial_from(
        {"schedule": "1h", "timezone": "Europe/Berlin", "start": "2027-10-30 01:30+00:00"}
    )
    assert shown["start"] == "2027-10-30 03:30:00"


def test_the_saved_form_shows_its_preview(admin_client: Client, default_project: Project) -> None:
    page = admin_client.get(f"{LIST}{_make(schedule='90s').pk}/change/").content.decode()
    assert "Every 90 seconds." in page
    assert page.count("<li>") >= 5
    assert HELD not in page


HELD = "Held: nothing fires until the schedule is resumed."


def test_the_saved_form_says_that_its_schedule_is_held(admin_client: Client, default_project: Project) -> None:
    page = f"{LIST}{_make(schedule='90s', paused=True).pk}/change/"
    assert HELD in admin_client.get(page).content.decode()
    Job.objects.update(paused=False)
    assert HELD not in admin_client.get(page).content.decode()
    PeriodicTask.objects.update(enabled=False)
    assert HELD in admin_client.get(page).content.decode()


def test_the_list_shows_schedule_and_last_run_without_asking_per_job(
    admin_client: Client, default_project: Project
) -> None:
    _make(name="One", schedule="0 2 * * *")
    admin_client.get(LIST)
    with CaptureQueriesContext(connection) as few:
        admin_client.get(LIST)
    for number in range(12):
        _make(name=f"More {number}", schedule=f"{number + 1}m")
        control.trigger(job=f"More {number}", actor="test")
    with CaptureQueriesContext(connection) as many:
        page = admin_client.get(LIST).content.decode()
    assert len(many) == len(few)
    assert "every 12 minutes" in page and "02:00" in page and "js-state-queued" in page


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", 2),
        ("?kind__exact=http", 1),
        ("?paused__exact=1", 1),
        ("?queue=default", 2),
        ("?project=other", 0),
        ("?q=web", 1),
        ("?deleted=yes", 1),
    ],
)
def test_jobs_are_found_by_what_they_are(
    query: str, found: int, admin_client: Client, default_project: Project
) -> None:
    _make(name="Shell", paused=True)
    _make(name="Web", http="https://example.com/")
    definitions.remove(_make(name="Gone"), actor="test")
    assert admin_client.get(LIST + query).context["cl"].result_count == found


def test_deleting_a_job_archives_it(admin_client: Client, default_project: Project) -> None:
    job = _make(schedule="0 2 * * *")
    run = control.trigger(job=job.name, actor="test")
    assert "all former definitions stay" in admin_client.get(f"{LIST}{job.pk}/delete/").content.decode()
    assert Job.objects.current().exists()
    admin_client.post(f"{LIST}{job.pk}/delete/", {"post": "yes"})
    job.refresh_from_db()
    assert job.archived_at is not None
    assert not Schedule.objects.exists()
    assert Run.objects.get().pk == run.pk
    page = admin_client.get(f"{LIST}{job.pk}/change/").content.decode()
    assert "This job was deleted on" in page
    assert 'name="_save"' not in page and "Run now" not in page
    assert admin_client.post(f"{LIST}{job.pk}/change/", _sent(JobForm(instance=job))).status_code == 403


def test_several_jobs_are_deleted_by_one_action(admin_client: Client, default_project: Project) -> None:
    jobs = [_make(name=name) for name in ("One", "Two", "Three")]
    chosen = {"action": "delete_selected", "_selected_action": [job.pk for job in jobs[:2]]}
    assert "Delete these jobs?" in admin_client.post(LIST, chosen).content.decode()
    assert Job.objects.current().count() == 3
    admin_client.post(LIST, {**chosen, "post": "yes"})
    assert [job.name for job in Job.objects.current()] == ["Three"]
    assert Job.objects.count() == 3


def test_run_now_asks_for_parameters_and_priority_first(admin_client: Client, default_project: Project) -> None:
    job = _make(params={"customer": 1}, paused=True)
    page = admin_client.get(f"{RUN}?id={job.pk}").content.decode()
    assert "&quot;customer&quot;: 1" in page and "is paused" in page
    assert not Run.objects.exists()
    wrong = admin_client.post(f"{RUN}?id={job.pk}", {"params": "7", "priority": ""})
    assert "must be an object" in wrong.content.decode()
    assert not Run.objects.exists()
    response = admin_client.post(f"{RUN}?id={job.pk}", {"params": '{"customer": 7}', "priority": "9"}, follow=True)
    run = Run.objects.get()
    assert (run.params, run.priority, run.requested_by) == ({"customer": 7}, 9, "admin")
    assert f"Run #{run.pk} of Nightly was requested." in response.content.decode()


def test_run_now_on_several_jobs(admin_client: Client, default_project: Project) -> None:
    jobs = [_make(name=name) for name in ("One", "Two")]
    asked = admin_client.post(LIST, {"action": "run_jobs", "_selected_action": [job.pk for job in jobs]})
    assert not Run.objects.exists()
    response = admin_client.post(asked["Location"], {"params": "", "priority": ""}, follow=True)
    assert {run.job_id for run in Run.objects.all()} == {job.pk for job in jobs}
    assert "2 runs were requested" in response.content.decode()


def test_pause_and_resume(admin_client: Client, default_project: Project) -> None:
    job = _make()
    for verb, paused, told in (
        ("pause", True, "Nightly was paused"),
        ("pause", True, "Nothing to do: that was paused already."),
        ("resume", False, "Nightly was resumed"),
    ):
        page = admin_client.post(reverse(f"admin:jobs_job_{verb}", args=[job.pk]), follow=True).content.decode()
        job.refresh_from_db()
        assert job.paused is paused
        assert told in page
    admin_client.post(LIST, {"action": "pause_jobs", "_selected_action": job.pk})
    job.refresh_from_db()
    assert job.paused
    admin_client.post(LIST, {"action": "resume_jobs", "_selected_action": job.pk})
    job.refresh_from_db()
    assert not job.paused


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_looking_at_a_verb_changes_nothing(
    verb: str, admin_client: Client, admin_user: User, default_project: Project
) -> None:
    job = _make(paused=verb == "resume")
    address = reverse(f"admin:jobs_job_{verb}", args=[job.pk])
    assert admin_client.get(address).status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(admin_user)
    assert strict.post(address).status_code == 403
    job.refresh_from_db()
    assert job.paused is (verb == "resume")


def test_staff_who_may_only_look_see_no_verb_and_are_refused(viewer: Client, default_project: Project) -> None:
    job = _make(run="make test", schedule="0 2 * * *")
    page = viewer.get(LIST).content.decode()
    assert "Nightly" in page and 'name="action"' not in page
    page = viewer.get(f"{LIST}{job.pk}/change/").content.decode()
    assert "run: make test" in page and "02:00" in page
    for verb in ("Run now", "Pause", "Delete", 'name="_save"'):
        assert verb not in page
    assert viewer.get(f"{LIST}{job.pk}/definitions/").status_code == 200
    for refused in (
        viewer.get(f"{RUN}?id={job.pk}"),
        viewer.post(f"{RUN}?id={job.pk}", {"params": "", "priority": ""}),
        viewer.post(LIST, {"action": "pause_jobs", "_selected_action": job.pk}),
        viewer.post(LIST, {"action": "delete_selected", "_selected_action": job.pk, "post": "yes"}),
        viewer.post(reverse("admin:jobs_job_pause", args=[job.pk])),
        viewer.post(f"{LIST}{job.pk}/change/", _sent(JobForm(instance=job))),
        viewer.post(f"{LIST}{job.pk}/delete/", {"post": "yes"}),
        viewer.get(ADD),
    ):
        assert refused.status_code == 403
    assert not Run.objects.exists()


def test_former_definitions_show_what_changed(admin_client: Client, default_project: Project) -> None:
    job = _make(run="make <b>one</b>")
    _make(run="make two")
    _make(run="make two", priority=9)
    page = admin_client.get(f"{LIST}{job.pk}/definitions/").content.decode()
    assert page.index("Version 3") < page.index("Version 2") < page.index("Version 1")
    assert "+ priority: 9" in page and "- priority: 5" in page
    assert "&lt;b&gt;one" in page and "<b>one" not in page
    assert admin_client.post(f"{LIST}{job.pk}/definitions/", {}).status_code in (200, 405)
    assert Definition.objects.filter(job=job).count() == 3


def test_hostile_words_in_a_job_are_text(admin_client: Client, default_project: Project) -> None:
    hostile = "</script><script>alert(1)</script>"
    job = _make(run=hostile, description=hostile, params={"x": hostile})
    for address in (LIST, f"{LIST}{job.pk}/change/", f"{LIST}{job.pk}/definitions/", f"{RUN}?id={job.pk}"):
        assert "<script>alert" not in admin_client.get(address).content.decode()


def test_the_schedule_of_a_job_names_its_job(admin_client: Client, default_project: Project) -> None:
    job = _make(schedule="0 2 * * *")
    link = reverse("admin:jobs_job_change", args=[job.pk])
    task = Schedule.objects.get(job=job).periodic_task
    page = admin_client.get(f"/admin/django_celery_beat/periodictask/{task.pk}/change/").content.decode()
    assert link in page and "belongs to the job" in page
    assert link in admin_client.get("/admin/django_celery_beat/periodictask/").content.decode()


def test_json_of_the_preview_is_no_page(admin_client: Client) -> None:
    response = admin_client.post(PREVIEW, {"when": "cron", "cron": "<script>", "timezone": "UTC"})
    assert response["Content-Type"] == "application/json"
    assert json.loads(response.content)["wrong"]
