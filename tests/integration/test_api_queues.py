"""Queues over REST: what waits, and rates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from jobs.conf import conf
from jobs.models import Job, Queue, Run
from jobs.store.session import Session
from tests.integration.api import signed_in
from tests.integration.conftest import claim_next
from tests.integration.test_api_runs import SIGN_IN_QUERIES


@pytest.fixture
def api(make_job: Callable[..., Job]) -> APIClient:
    make_job()
    return signed_in()


@pytest.fixture
def two_queues(settings: Any) -> Iterator[None]:
    settings.JOBSCHED = {**settings.JOBSCHED, "QUEUES": ("default", "slow lane")}
    conf.cache_clear()
    yield
    conf.cache_clear()


def set_rate(api: APIClient, rate: object, queue: str = "default") -> Any:
    return api.put(f"/api/v1/queues/{queue}", {"rate": rate}, format="json")


def request_runs(api: APIClient, count: int) -> None:
    assert api.post("/api/v1/jobs/Noop/trigger", {"count": count}, format="json").status_code == 201


def test_every_queue_is_listed_with_what_waits_in_it(
    api: APIClient, two_queues: None, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    set_rate(api, "1/d")
    request_runs(api, 3)
    with django_assert_num_queries(SIGN_IN_QUERIES + 2):
        shown = api.get("/api/v1/queues").json()
    assert shown == {
        "queues": [
            {"name": "default", "rate": "1/d", "waiting": 3, "held": 2},
            {"name": "slow lane", "rate": None, "waiting": 0, "held": 0},
        ]
    }
    held = [run["held"] for run in api.get("/api/v1/runs/").json()["runs"]]
    assert sorted(held, key=str) == [None, "queue", "queue"]


def test_a_rate_is_kept_as_everybody_writes_it(api: APIClient) -> None:
    answer = set_rate(api, " 100 / m")
    assert (answer.status_code, answer.json()["rate"]) == (200, "100/m")
    assert Queue.objects.get().rate == "100/m"


def test_a_queue_whose_name_has_a_space_can_be_addressed(api: APIClient, two_queues: None) -> None:
    assert set_rate(api, "2/s", "slow%20lane").json()["name"] == "slow lane"


def test_without_its_rate_all_that_waits_may_go(api: APIClient, session: Session) -> None:
    set_rate(api, "1/d")
    request_runs(api, 3)
    assert [len(claim_next(session)) for _ in range(2)] == [1, 0]
    assert set_rate(api, None).json() == {"name": "default", "rate": None, "waiting": 2, "held": 0}
    assert [len(claim_next(session)) for _ in range(3)] == [1, 1, 0]


def test_a_faster_rate_counts_from_now_on_and_not_from_when_the_former_would_allow(
    api: APIClient, session: Session
) -> None:
    set_rate(api, "1/d")
    request_runs(api, 3)
    assert len(claim_next(session)) == 1
    assert (set_rate(api, "1/h").json()["held"], Queue.objects.get().next_at < timezone.now() + timedelta(hours=2)) == (
        1,
        True,
    )
    assert len(claim_next(session)) == 1


def test_the_same_rate_again_lets_nothing_more_go(api: APIClient) -> None:
    set_rate(api, "1/d")
    request_runs(api, 3)
    before = Queue.objects.values().get()
    assert set_rate(api, "1/d").json()["held"] == 2
    assert Queue.objects.values().get() == before


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"rate": "fast"}, "'fast' is not a rate; write a count and one of s, m, h and d, such as 100/m"),
        ({"rate": "0/m"}, "the count of a rate is from 1"),
        ({"rate": ""}, "is not a rate"),
        ({"rate": 5}, "'rate'"),
        ({}, "the key 'rate' is missing"),
        ({"rate": None, "burst": 3}, "there is no key 'burst' (known: rate)"),
    ],
)
def test_a_rate_that_is_none_is_refused(api: APIClient, body: dict[str, object], sentence: str) -> None:
    answer = api.put("/api/v1/queues/default", body, format="json")
    assert answer.status_code == 400
    assert sentence in answer.json()["error"]
    assert not Queue.objects.exists()


def test_a_queue_that_no_worker_serves_is_not_found(api: APIClient) -> None:
    answer = set_rate(api, "1/s", "nowhere")
    assert answer.status_code == 404
    assert answer.json()["error"] == "There is no queue 'nowhere'; jobs may name 'default' (JOBSCHED_QUEUES)."
    assert not Queue.objects.exists()
    assert Run.objects.count() == 0
