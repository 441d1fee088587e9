"""Parameters and bodies that are too large are refused where they enter, with the limit in the sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from rest_framework.parsers import JSONParser
from rest_framework.test import APIClient

from jobs.models import Job, Run
from jobs.services import control
from jobsched.domain import parameters
from jobsched.domain.errors import InvalidInput
from tests.integration.api import signed_in

pytestmark = pytest.mark.django_db(transaction=True)

TRIGGER = "/api/v1/jobs/Noop/trigger"
LARGEST = {"a": "x" * (parameters.LARGEST_BYTES - len('{"a": ""}'))}
TOO_LARGE = {"a": LARGEST["a"] + "x"}
REFUSED = "params: has 65537 bytes as JSON, more than the 65536 that a run can be given"


@pytest.fixture
def api(transactional_db: None, make_job: Callable[..., Job]) -> APIClient:
    make_job("Noop")
    return signed_in()


def posted(api: APIClient, path: str, body: Any) -> tuple[int, Any]:
    answer = api.post(path, body, format="json")
    return answer.status_code, answer.json()


def test_the_largest_parameters_are_taken(api: APIClient) -> None:
    status, run = posted(api, TRIGGER, {"params": LARGEST})
    assert (status, run["params"]) == (201, LARGEST)


@pytest.mark.parametrize("more", [{}, {"count": 1}, {"count": 3}, {"at": "2999-01-01T00:00:00Z"}])
def test_larger_parameters_of_a_request_are_answered_with_400_and_the_limit(
    api: APIClient, more: dict[str, Any]
) -> None:
    status, answer = posted(api, TRIGGER, {"params": TOO_LARGE, **more})
    assert status == 400
    assert answer["error"].startswith(REFUSED)
    assert not Run.objects.exists()


def test_a_request_of_many_runs_is_bounded_as_a_whole(api: APIClient) -> None:
    status, answer = posted(api, TRIGGER, {"params": LARGEST, "count": 129})
    assert status == 400
    assert answer["error"].endswith(
        "more than the 8388608 that one request can give; request at most 128 runs at once."
    )
    status, answer = posted(api, TRIGGER, {"params": LARGEST, "count": 128})
    assert (status, len(answer["runs"])) == (201, 128)


def test_a_job_with_larger_parameters_is_answered_with_400_and_the_limit(api: APIClient) -> None:
    for method, path in (("post", "/api/v1/jobs/"), ("put", "/api/v1/jobs/Noop/")):
        body = {"name": "Noop" if method == "put" else "Other", "run": "true", "params": TOO_LARGE}
        answer = getattr(api, method)(path, body, format="json")
        assert answer.status_code == 400
        assert "has 65537 bytes as JSON, more than the 65536 that a run can be given" in answer.json()["error"]


def test_code_meets_the_same_limits(api: APIClient) -> None:
    with pytest.raises(InvalidInput, match="65536"):
        control.trigger(job="Noop", actor="ann", params=TOO_LARGE)
    with pytest.raises(InvalidInput, match="at most 128 runs"):
        control.trigger_many(job="Noop", actor="ann", count=1000, params=LARGEST)
    with pytest.raises(InvalidInput, match="NUL"):
        control.trigger(job="Noop", actor="ann", params={"a": "\0"})


@pytest.mark.parametrize(
    ("method", "path", "limit"),
    [
        ("post", TRIGGER, 1024 * 1024),
        ("post", "/api/v1/jobs/Noop/backfill", 1024 * 1024),
        ("post", "/api/v1/runs/retry", 1024 * 1024),
        ("post", "/api/v1/runs/cancel", 1024 * 1024),
        ("put", "/api/v1/queues/default", 1024 * 1024),
        ("post", "/api/v1/apply", 8 * 1024 * 1024),
        ("post", "/api/v1/jobs/", 8 * 1024 * 1024),
        ("put", "/api/v1/jobs/Noop/", 8 * 1024 * 1024),
        ("post", "/api/v1/preview", 8 * 1024 * 1024),
    ],
)
def test_a_longer_body_is_answered_with_413_and_the_limit(
    api: APIClient, method: str, path: str, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(JSONParser, "parse", lambda *_, **__: pytest.fail("the body was parsed"))
    answer = getattr(api, method)(path, " " * (limit + 1), content_type="application/json")
    monkeypatch.undo()
    assert answer.status_code == 413
    assert answer.json() == {"error": f"The body of the request is longer than {limit} bytes; send less at once."}
    answer = getattr(api, method)(path, " " * limit, content_type="application/json")
    assert answer.status_code == 400


def test_the_form_meets_the_same_limits(api: APIClient, admin_client: Client) -> None:
    page = f"/admin/jobs/job/run/?id={Job.objects.get().pk}"
    answer = admin_client.post(page, {"params": json.dumps(TOO_LARGE), "priority": ""})
    assert REFUSED in answer.content.decode()
    assert not Run.objects.exists()
