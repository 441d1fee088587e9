"""Who may call what, and what a failure looks like."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client as Browser
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils.regex_helper import normalize
from knox.models import AuthToken
from rest_framework.test import APIClient

from jobs.models import Job, Run
from jobsched.domain.errors import Conflict, InvalidInput, JobschedError, NotFound, Unavailable
from tests.integration.api import signed_in

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD")
EXAMPLES = {"name": "Noop", "run_id": "1", "object_id": "1", "pk": "1"}


def addresses(patterns: Any, prefix: str = "/") -> Iterator[str]:
    """Yield one concrete address for each pattern the project has."""
    for entry in patterns:
        if isinstance(entry, URLResolver):
            for start in addresses_of(entry):
                yield from addresses(entry.url_patterns, prefix + start)
        elif isinstance(entry, URLPattern):
            for end in addresses_of(entry):
                yield prefix + end


def addresses_of(entry: URLPattern | URLResolver) -> list[str]:
    templates = normalize(entry.pattern.regex.pattern)
    return [template % {name: EXAMPLES.get(name, "1") for name in names} for template, names in templates]


def test_the_walk_sees_every_address_of_the_api() -> None:
    walked = set(addresses(get_resolver().url_patterns))
    assert {"/healthz", "/api/v1/apply", "/api/v1/jobs/Noop/trigger", "/api/v1/runs/1/output", "/api/v1/"} <= walked


@pytest.mark.django_db
def test_nobody_gets_anything_without_signing_in_but_the_health_page() -> None:
    browser = Browser(raise_request_exception=False)
    open_to_all = {"/healthz", "/admin/login/", "/admin/logout/"}
    for address in set(addresses(get_resolver().url_patterns)) - open_to_all:
        for method in METHODS:
            answer = browser.generic(method, address)
            if address.startswith("/api/"):
                assert answer.status_code == 401, f"{method} {address}"
                assert answer["Content-Type"] == "application/json"
                assert answer["WWW-Authenticate"] == "Token"
                assert method == "HEAD" or "Sign in" in answer.json()["error"]
            else:
                assert answer.status_code in (302, 403, 404, 405), f"{method} {address}"
                if answer.status_code == 302:
                    assert answer["Location"].startswith("/admin/"), f"{method} {address}"
    assert browser.get("/healthz").status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize("header", ["Token", "Token wrong", "Token two words", "Token \xff\xfe", "Token " + "a" * 64])
def test_a_wrong_token_is_refused(header: str) -> None:
    answer = Browser().get("/api/v1/jobs/", headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer.json()["error"].startswith("Invalid token")


@pytest.mark.django_db
def test_a_session_of_the_admin_is_no_token() -> None:
    browser = Browser()
    browser.force_login(User.objects.create_superuser("root"))
    assert browser.get("/api/v1/jobs/").status_code == 401


@pytest.mark.django_db
def test_a_token_of_a_user_who_was_switched_off_is_refused() -> None:
    user = User.objects.create_superuser("gone")
    api = signed_in(user)
    User.objects.filter(pk=user.pk).update(is_active=False)
    assert api.get("/api/v1/jobs/").status_code == 401


READING_JOBS = [
    ("GET", "jobs/"),
    ("GET", "jobs/Noop/"),
    ("GET", "jobs/Noop/next"),
    ("POST", "preview"),
    ("GET", "upcoming"),
]
READING_RUNS = [("GET", "runs/"), ("GET", "runs/{run}/"), ("GET", "runs/{run}/output")]
CHANGING_JOBS = [
    ("PUT", "jobs/Noop/"),
    ("POST", "jobs/Noop/trigger"),
    ("POST", "jobs/Noop/backfill"),
    ("POST", "jobs/Noop/pause"),
    ("POST", "jobs/Noop/resume"),
]
CHANGING_RUNS = [
    ("POST", "runs/{run}/cancel"),
    ("POST", "runs/{run}/retry"),
    ("POST", "runs/cancel"),
    ("POST", "runs/retry"),
]
NEEDED = [
    *((call, {"view_job"}) for call in READING_JOBS),
    *((call, {"view_run"}) for call in READING_RUNS),
    *((call, {"change_job"}) for call in CHANGING_JOBS),
    *((call, {"change_run"}) for call in CHANGING_RUNS),
    (("POST", "jobs/"), {"add_job"}),
    (("POST", "apply"), {"add_job", "change_job"}),
    (("DELETE", "jobs/Noop/"), {"delete_job"}),
    (("GET", "jobs/Noop/fires"), {"view_job", "view_run"}),
    (("GET", "queues"), {"view_queue"}),
    (("PUT", "queues/default"), {"change_queue"}),
    (("GET", "schema"), set()),
]


@pytest.mark.parametrize(("call", "needed"), NEEDED, ids=lambda value: " ".join(value))
def test_each_call_takes_the_permission_it_names_and_no_other(
    make_job: Callable[..., Job], make_runs: Callable[..., list[Run]], call: tuple[str, str], needed: set[str]
) -> None:
    make_runs(1)
    method, path = call[0], f"/api/v1/{call[1].format(run=Run.objects.get().pk)}"
    user = User.objects.create_user("someone")
    ours = Permission.objects.filter(content_type__app_label="jobs")

    user.user_permissions.set(ours.exclude(codename__in=needed))
    refused = signed_in(user).generic(method, path, "{}", content_type="application/json")
    user.user_permissions.set(ours.filter(codename__in=needed))
    allowed = signed_in(user).generic(method, path, "{}", content_type="application/json")

    assert refused.status_code == (403 if needed else 200)
    if needed:
        assert all(codename in refused.json()["error"] for codename in needed)
    assert allowed.status_code not in (401, 403)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("method", "path", "status", "sentence"),
    [
        ("GET", "", 404, "docs/api.md"),
        ("GET", "nothing/here", 404, "docs/api.md"),
        ("POST", "runs/99999999999999999999/cancel", 404, "docs/api.md"),
        ("GET", "runs/999999999999999999/", 404, "There is no run 999999999999999999."),
        ("GET", "jobs/Nope/", 404, "There is no job 'Nope' in project 'default'."),
        ("GET", "jobs/Nope/?project=other", 404, "There is no job 'Nope' in project 'other'."),
        ("POST", "jobs/Nope/trigger", 404, "There is no job 'Nope'"),
        ("GET", "jobs/%00/", 400, "cannot be stored"),
        ("GET", "runs/?limit=0", 400, "'limit': input should be greater than or equal to 1, got \"0\""),
        ("GET", "runs/?limit=many", 400, "'limit'"),
        ("GET", "runs/?state=asleep", 400, "'state'"),
        ("GET", "runs/?job=%00", 400, "'job'"),
        (
            "GET",
            "runs/?stat=failed",
            400,
            "there is no key 'stat' (known: project, job, state, queue, reason, exit_code, signal, error, worker, "
            "trigger, retried, from, to, since, by, before, limit)",
        ),
        ("GET", "runs/?trigger=magic", 400, "'trigger'"),
        ("GET", "jobs/Nope/fires?from=2026-11-01T00:00:00Z&to=2026-11-02T00:00:00Z", 404, "There is no job 'Nope'"),
        ("POST", "jobs/Nope/backfill", 404, "There is no job 'Nope'"),
        ("GET", "upcoming?hours=0", 400, "'hours'"),
        ("GET", "queues/default", 405, "GET"),
        ("DELETE", "runs/", 405, "DELETE"),
        ("PATCH", "jobs/Noop/", 405, "PATCH"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence_of_json(
    method: str, path: str, status: int, sentence: str
) -> None:
    answer = signed_in().generic(method, f"/api/v1/{path}")
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/json"
    assert sentence in answer.json()["error"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("body", "content_type", "status", "sentence"),
    [
        ("{", "application/json", 400, "JSON parse error"),
        ("[1]", "application/json", 400, "must be a JSON object"),
        ('{"source": 5}', "application/json", 400, "'source'"),
        ("{}", "application/json", 400, "the key 'source' is missing"),
        ("[" * 100_000, "application/json", 400, "nested too deeply"),
        (" " * (8 * 1024 * 1024 + 1), "application/json", 413, "longer than 8388608 bytes"),
        ("a=b", "application/x-www-form-urlencoded", 415, "media type"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_body_that_cannot_be_read_is_refused(body: str, content_type: str, status: int, sentence: str) -> None:
    answer = signed_in().generic("POST", "/api/v1/apply", body, content_type=content_type)
    assert answer.status_code == status, answer.content
    assert sentence in answer.json()["error"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidInput("No.", where="jobs.yaml"), 400),
        (NotFound("No."), 404),
        (Conflict("No."), 409),
        (Unavailable("No."), 503),
        (JobschedError("No."), 400),
    ],
)
def test_errors_of_the_domain_have_their_status(
    monkeypatch: pytest.MonkeyPatch, error: JobschedError, status: int
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("jobs.services.reading.runs", refuse)
    answer = signed_in().get("/api/v1/runs/")
    assert (answer.status_code, answer.json()) == (status, {"error": str(error)})


@pytest.mark.django_db
def test_a_defect_shows_no_trace_to_the_caller_and_all_of_it_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def break_down(*_: Any, **__: Any) -> None:
        raise RuntimeError("the inner workings")

    monkeypatch.setattr("jobs.services.reading.runs", break_down)
    api = signed_in()
    api.raise_request_exception = False
    answer = api.get("/api/v1/runs/")

    assert answer.status_code == 500
    assert "inner workings" not in answer.content.decode()
    assert "log" in answer.json()["error"]
    assert "inner workings" in caplog.text


@pytest.mark.django_db
def test_the_token_is_kept_as_a_digest_only() -> None:
    kept, token = AuthToken.objects.create(User.objects.create_user("someone"))
    assert token not in str(vars(kept))


@pytest.mark.django_db
@pytest.mark.parametrize("address", ["/api/v1/jobs", "/api/v1/runs", "/api/v1/schema/"])
def test_a_slash_at_the_end_makes_no_difference(address: str) -> None:
    api: APIClient = signed_in()
    assert api.get(address).status_code == 200
