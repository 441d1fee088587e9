"""Jobs over REST: apply, CRUD, trigger, pause, resume, next."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from jobs.models import Job, Run
from tests.integration.api import signed_in
from tests.integration.test_api_runs import SIGN_IN_QUERIES

FILE = """
jobs:
  - name: Nightly
    schedule: "0 2 * * *"
    run: ./cleanup
  - name: Ask
    http: http://127.0.0.1:8000/healthz
"""


@pytest.fixture
def api(make_job: Callable[..., Job]) -> APIClient:
    return signed_in()


def post(api: APIClient, path: str, body: dict[str, Any] | None = None, method: str = "post") -> Any:
    return getattr(api, method)(f"/api/v1/{path}", body or {}, format="json")


class TestApply:
    def test_says_of_each_job_what_became_of_it(self, api: APIClient) -> None:
        first = post(api, "apply", {"source": FILE, "filename": "jobs.yaml"})
        second = post(api, "apply", {"source": FILE.replace("./cleanup", "./clean")})

        assert first.status_code == 200
        assert first.json() == {
            "jobs": [
                {"project": "default", "name": "Nightly", "result": "created"},
                {"project": "default", "name": "Ask", "result": "created"},
            ]
        }
        assert [job["result"] for job in second.json()["jobs"]] == ["updated", "unchanged"]

    def test_applies_nothing_when_anything_is_wrong(self, api: APIClient) -> None:
        answer = post(api, "apply", {"source": f"{FILE}  - name: Bad\n    run: x\n    queue: nowhere\n"})
        assert answer.status_code == 400
        assert "'nowhere'" in answer.json()["error"]
        assert not Job.objects.exists()

    def test_names_file_and_key_at_fault(self, api: APIClient) -> None:
        answer = post(api, "apply", {"source": FILE.replace("0 2", "61 2"), "filename": "night.yaml"})
        assert answer.status_code == 400
        assert "night.yaml" in answer.json()["error"]
        assert "schedule" in answer.json()["error"]


class TestCrud:
    BODY = {"name": "Nightly", "schedule": "0 2 * * *", "run": "true", "priority": 7, "timeout": "90s"}

    def test_a_job_is_created_shown_replaced_and_deleted(self, api: APIClient) -> None:
        made = post(api, "jobs/", self.BODY)
        shown = api.get("/api/v1/jobs/Nightly/")
        replaced = post(api, "jobs/Nightly/", {**shown.json(), "run": "false"}, "put")
        deleted = api.delete("/api/v1/jobs/Nightly/")

        assert made.status_code == 201
        expected = {**self.BODY, "project": "default", "kind": "shell", "version": 1}
        expected["timeout"] = shown.json()["timeout"]
        assert {key: shown.json().get(key) for key in expected} == expected
        assert made.json() == shown.json()
        assert replaced.status_code == 200, replaced.json()
        assert replaced.json() == {**shown.json(), "run": "false", "version": 2}
        assert (deleted.status_code, deleted.content) == (204, b"")
        assert api.get("/api/v1/jobs/Nightly/").status_code == 404
        assert Job.objects.get().archived_at is not None

    def test_a_replacement_leaves_nothing_of_the_former_job(self, api: APIClient) -> None:
        post(api, "jobs/", self.BODY)
        post(api, "jobs/Nightly/", {"http": "http://127.0.0.1/"}, "put")
        shown = api.get("/api/v1/jobs/Nightly/").json()
        assert shown["kind"] == "http"
        assert not {"run", "schedule", "priority"} & set(shown)
        assert shown["words"] == "only on request"

    def test_a_name_that_is_taken_is_a_conflict_and_changes_nothing(self, api: APIClient) -> None:
        post(api, "jobs/", self.BODY)
        for body in (self.BODY, {**self.BODY, "run": "false"}):
            answer = post(api, "jobs/", body)
            assert answer.status_code == 409
            assert "'Nightly'" in answer.json()["error"]
        assert Job.objects.get().spec == {"command": "true"}

    def test_of_many_who_create_the_same_job_at_once_one_succeeds(self, api: APIClient) -> None:
        callers = [signed_in() for _ in range(4)]

        def create(caller: APIClient) -> int:
            try:
                return int(post(caller, "jobs/", self.BODY).status_code)
            finally:
                connection.close()

        with ThreadPoolExecutor(4) as pool:
            statuses = sorted(pool.map(create, callers))
        assert statuses == [201, 409, 409, 409]

    @pytest.mark.parametrize(
        ("body", "sentence"),
        [
            ({"name": "A"}, "A"),
            ({"name": "A", "run": "x", "steps": []}, "A"),
            ({"name": "A", "run": "x", "scedule": "90s"}, "scedule"),
            ({"name": "A", "run": "x", "schedule": "61 * * * *"}, "schedule"),
            ({"name": "A", "run": "x", "queue": "nowhere"}, "queue"),
            ({"name": "A", "run": "x", "project": ""}, "project"),
            ({"run": "x"}, "name"),
        ],
    )
    def test_what_the_format_refuses_is_refused(self, api: APIClient, body: dict[str, Any], sentence: str) -> None:
        answer = post(api, "jobs/", body)
        assert answer.status_code == 400
        assert sentence in answer.json()["error"]
        assert not Job.objects.exists()

    @pytest.mark.parametrize(("key", "value"), [("name", "Other"), ("project", "other")])
    def test_name_and_project_of_a_job_stay(self, api: APIClient, key: str, value: str) -> None:
        post(api, "jobs/", self.BODY)
        answer = post(api, "jobs/Nightly/", {**self.BODY, key: value}, "put")
        assert answer.status_code == 400
        assert f"key '{key}'" in answer.json()["error"]

    def test_a_job_that_is_not_there_cannot_be_replaced(self, api: APIClient) -> None:
        assert post(api, "jobs/Nightly/", self.BODY, "put").status_code == 404
        assert not Job.objects.exists()

    def test_jobs_of_another_project_are_apart(self, api: APIClient) -> None:
        post(api, "jobs/", self.BODY)
        assert post(api, "jobs/", {**self.BODY, "project": "other"}).status_code == 201
        assert post(api, "jobs/?project=third", self.BODY).status_code == 201
        assert [job["project"] for job in api.get("/api/v1/jobs/").json()["jobs"]] == ["default", "other", "third"]
        assert api.get("/api/v1/jobs/Nightly/?project=other").json()["project"] == "other"

    def test_a_list_is_paged(self, api: APIClient, make_job: Callable[..., Job]) -> None:
        for name in ("C", "A", "B"):
            make_job(name)
        post(api, "jobs/", {**self.BODY, "project": "other"})
        names, after = [], ""
        while after is not None:
            page = api.get(f"/api/v1/jobs/?limit=1{after and f'&after={after}'}").json()
            names += [job["name"] for job in page["jobs"]]
            after = page["next"]
        assert names == ["A", "B", "C", "Nightly"]

    @pytest.mark.parametrize("count", [1, 12])
    def test_a_list_costs_the_same_queries_however_long(
        self, api: APIClient, django_assert_num_queries: DjangoAssertNumQueries, count: int
    ) -> None:
        for number in range(count):
            post(api, "jobs/", {**self.BODY, "name": f"Job {number}", "schedule": f"{number + 5}m"})
        with django_assert_num_queries(SIGN_IN_QUERIES + 1):
            shown = api.get("/api/v1/jobs/").json()["jobs"]
        assert len(shown) == count
        assert shown[0]["words"] == "every 5 minutes"


class TestTrigger:
    def test_makes_a_run_with_parameters_over_the_jobs_own(self, api: APIClient, make_job: Callable[..., Job]) -> None:
        make_job(params={"a": 1, "b": 1})
        answer = post(api, "jobs/Noop/trigger", {"params": {"b": 2}, "priority": 9})
        assert answer.status_code == 201
        run = answer.json()
        assert (run["state"], run["priority"], run["params"], run["trigger"], run["requested_by"]) == (
            "queued",
            9,
            {"a": 1, "b": 2},
            "request",
            "ann",
        )

    def test_at_a_moment_to_come_it_waits(self, api: APIClient, make_job: Callable[..., Job]) -> None:
        make_job()
        run = post(api, "jobs/Noop/trigger", {"at": "2126-12-01T03:00:00+01:00"}).json()
        assert (run["state"], run["run_at"]) == ("scheduled", "2126-12-01T02:00:00Z")

    def test_makes_many_at_once(
        self, api: APIClient, make_job: Callable[..., Job], django_assert_max_num_queries: DjangoAssertNumQueries
    ) -> None:
        make_job()
        with django_assert_max_num_queries(SIGN_IN_QUERIES + 6):
            answer = post(api, "jobs/Noop/trigger", {"count": 50})
        assert answer.status_code == 201
        assert [run["id"] for run in answer.json()["runs"]] == sorted(Run.objects.values_list("pk", flat=True))

    def test_a_request_that_may_not_run_beside_another_is_made_and_skipped(
        self, api: APIClient, make_job: Callable[..., Job]
    ) -> None:
        make_job(overlap="skip")
        first, second = (post(api, "jobs/Noop/trigger") for _ in range(2))
        assert (first.status_code, second.status_code) == (201, 201)
        assert second.json()["state"] == "skipped"
        assert f"run {first.json()['id']} had not ended" in second.json()["reason"]

    def test_a_request_of_a_unique_job_returns_the_run_that_waits_and_says_that_none_was_made(
        self, api: APIClient, make_job: Callable[..., Job]
    ) -> None:
        make_job(unique_waiting=True)
        first, second = (post(api, "jobs/Noop/trigger") for _ in range(2))
        assert (first.status_code, second.status_code) == (201, 200)
        assert second.json()["id"] == first.json()["id"]
        many = post(api, "jobs/Noop/trigger", {"count": 3})
        assert (many.status_code, [run["id"] for run in many.json()["runs"]]) == (200, [first.json()["id"]])
        assert Run.objects.count() == 1

    @pytest.mark.parametrize(
        ("body", "sentence"),
        [
            ({"params": [1]}, "'params'"),
            ({"priority": 10}, "'priority'"),
            ({"priority": "9"}, "'priority'"),
            ({"at": "2026-12-01T03:00:00"}, "'at' must name its time zone"),
            ({"at": "tomorrow"}, "'at'"),
            ({"count": 0}, "'count'"),
            ({"count": 1001}, "'count'"),
            ({"prams": {}}, "there is no key 'prams' (known: params, priority, at, count)"),
            ({"params": {"a": "\0"}}, "NUL"),
        ],
    )
    def test_what_makes_no_sense_is_refused(
        self, api: APIClient, make_job: Callable[..., Job], body: dict[str, Any], sentence: str
    ) -> None:
        make_job()
        answer = post(api, "jobs/Noop/trigger", body)
        assert answer.status_code == 400
        assert sentence in answer.json()["error"]
        assert not Run.objects.exists()


def test_pause_and_resume_show_the_job_as_it_is_then(api: APIClient, make_job: Callable[..., Job]) -> None:
    make_job()
    assert post(api, "jobs/Noop/pause").json()["paused"] is True
    assert post(api, "jobs/Noop/pause").status_code == 200
    assert Job.objects.get().paused
    assert post(api, "jobs/Noop/resume").json().get("paused", False) is False
    assert not Job.objects.get().paused


def test_the_schema_describes_a_file_of_jobs(api: APIClient) -> None:
    schema = api.get("/api/v1/schema").json()
    assert "jobs" in schema["properties"]
