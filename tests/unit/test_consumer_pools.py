"""Which pools of Celery can perform runs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.concurrency.prefork import TaskPool as PreforkPool
from celery.concurrency.thread import TaskPool as ThreadPool
from celery.worker import WorkController

from jobs.consumer import pools


class OwnPool(PreforkPool):
    """A project's own pool, of processes."""


@pytest.fixture
def app() -> Celery:
    return Celery(set_as_current=False)


def worker(app: Celery) -> Any:
    """Return what `pools` uses of a worker."""

    def setup_queues(include: Any, exclude: Any) -> None:
        WorkController.setup_queues(worker, include, exclude)

    worker: Any = SimpleNamespace(app=app, setup_queues=setup_queues)
    return worker


@pytest.mark.parametrize("pool", ["prefork", "processes", PreforkPool, OwnPool, "celery.concurrency.prefork:TaskPool"])
def test_pools_of_processes_have_slots(app: Celery, pool: Any) -> None:
    assert pools.why_no_slots(app, {"pool_cls": pool}) is None
    assert pools.why_no_slots(app, {}) is None


@pytest.mark.parametrize("pool", ["threads", "solo", ThreadPool, "celery.concurrency.thread:TaskPool"])
def test_other_pools_have_none(app: Celery, pool: Any) -> None:
    for why in (pools.why_no_slots(app, {"pool_cls": pool}), pools.why_no_slots(app, {"pool": pool})):
        assert why is not None and ("threads" in why or "solo" in why)
    app.conf.worker_pool = pool
    assert pools.why_no_slots(app, {}) is not None


def test_processes_that_start_with_an_interpreter_of_their_own_are_no_slots(app: Celery) -> None:
    assert "spawn" in (pools.why_no_slots(app, {"pool_start_method": "spawn"}) or "")
    app.conf.worker_pool_start_method = "spawn"
    assert "spawn" in (pools.why_no_slots(app, {}) or "")


@pytest.mark.parametrize(
    ("options", "served"),
    [
        ({"queues": ["default", "mail"]}, ["default"]),
        ({"queues": "mail,default"}, ["default"]),
        ({"queues": ["mail"]}, []),
        ({"queues": ["default", "batch"], "exclude_queues": ["default"]}, ["batch"]),
        ({}, []),
    ],
)
def test_a_worker_serves_the_queues_of_jobs_that_it_consumes(
    app: Celery, options: dict[str, Any], served: list[str]
) -> None:
    assert pools.served_queues(worker(app), options, of_jobs=("default", "batch")) == served


def test_the_refusal_is_one_sentence_that_says_what_to_do() -> None:
    refusal = pools.refusal(["default"], "its pool is threads, and runs need processes that the worker forks")
    assert "(default)" in refusal and "--pool=prefork" in refusal and refusal.count(". ") == 0
