"""No setting of Celery changes a promise: each has a decision, and what is decided holds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, current_app
from celery.app.defaults import NAMESPACES, flatten
from django.core.checks import run_checks
from django.test import override_settings
from kombu import Queue

from jobs import messages
from jobs.celery_settings import DECISIONS, Handling, broker_problem, problems, queue_of
from jobs.celery_settings.worker import keep_promises
from jobs.conf import WORK_TASK, conf
from jobs.consumer import PromptConsumer
from jobs.consumer.hintstrategy import _PoolWithoutLimits
from jobs.messages import hintmessage, hints
from jobs.services import preflight
from jobs.services.preflight import celerysettings
from jobs.tasks import HintTask

PAGE = Path(__file__).parents[2] / "docs" / "django.md"


def app(**settings: Any) -> Celery:
    """A Celery application of a project, with settings of its own."""
    made = Celery("shop", set_as_current=False, broker="amqp://shop:secret@rabbit/shop")
    made.conf.update(settings)
    return made


def ids(**settings: Any) -> list[str]:
    return [problem.id for problem in problems(app(**settings))]


# -- the table -------------------------------------------------------------------------------------------------------


def test_every_setting_of_celery_has_one_decision() -> None:
    """Fails when a later Celery has a new setting: decide what it means for hints, and add it to the table."""
    there = {name for name, _ in flatten(NAMESPACES)}
    decided = Counter(name for decision in DECISIONS for name in decision.settings)
    assert there - set(decided) == set(), "these settings are new and need a decision in jobs/celery_settings/table.py"
    assert set(decided) - there == set(), "Celery has these settings no longer"
    assert [name for name, times in decided.items() if times > 1] == []


def test_the_page_lists_what_is_overridden_and_refused() -> None:
    listed = {
        name.strip("`")
        for line in PAGE.read_text().splitlines()
        if line.startswith("| `CELERY_")
        for name in line.split("|")[1].replace(",", " ").split()
    }
    decided = {
        f"CELERY_{name.upper()}"
        for decision in DECISIONS
        if decision.handling is not Handling.HARMLESS
        for name in decision.settings
    }
    assert decided - listed == set()
    assert listed - decided == set()


# -- the task --------------------------------------------------------------------------------------------------------

HOSTILE_TO_TASKS = {
    "task_time_limit": 1,
    "task_soft_time_limit": 0.5,
    "task_default_rate_limit": "1/h",
    "task_acks_late": True,
    "task_acks_on_failure_or_timeout": False,
    "task_reject_on_worker_lost": True,
    "task_retry_on_worker_lost": True,
    "task_track_started": True,
    "task_serializer": "pickle",
    "task_default_priority": 9,
    "task_store_errors_even_if_ignored": True,
    "task_ignore_result": False,
    "task_annotations": {"*": {"rate_limit": "1/h", "time_limit": 1, "acks_late": True, "ignore_result": False}},
}


def _carry(self: Any, queue: str) -> None:
    """Stands for `jobs.tasks.work`."""


def _add() -> None:
    """Stands for a task of the project."""


def test_settings_and_annotations_for_all_tasks_leave_ours_alone() -> None:
    project = app(**HOSTILE_TO_TASKS)
    ours = project.task(name=WORK_TASK, base=HintTask, bind=True, shared=False)(_carry)
    theirs = project.task(name="shop.add", shared=False)(_add)
    assert (theirs.rate_limit, theirs.time_limit, theirs.acks_late, theirs.serializer) == ("1/h", 1, True, "pickle")
    for name in ("time_limit", "soft_time_limit", "rate_limit", "acks_late", "reject_on_worker_lost"):
        assert not getattr(ours, name)
    for name in ("retry_on_worker_lost", "track_started", "priority", "store_errors_even_if_ignored"):
        assert not getattr(ours, name)
    assert (ours.ignore_result, ours.serializer, ours.send_events) == (True, "json", False)
    assert isinstance(current_app.tasks[WORK_TASK], HintTask)


def test_the_pool_gives_hints_no_time_limits() -> None:
    given: dict[str, Any] = {}

    class Pool:
        def apply_async(self, *args: Any, **options: Any) -> Any:
            given.update(options)
            return SimpleNamespace(_timeout=options["timeout"] or 1, _soft_timeout=options["soft_timeout"] or 0.5)

    result = _PoolWithoutLimits(Pool()).apply_async("trace", timeout=7, soft_timeout=6, correlation_id="x")
    assert given == {"timeout": None, "soft_timeout": None, "correlation_id": "x"}
    assert (result._timeout, result._soft_timeout) == (0, 0)


# -- the message -----------------------------------------------------------------------------------------------------


def test_a_hint_has_nothing_of_the_projects_settings() -> None:
    made = hintmessage.message("reports")
    assert json.loads(made.body) == [
        ["reports"],
        {},
        {"callbacks": None, "errbacks": None, "chain": None, "chord": None},
    ]
    properties = made.properties
    assert (properties["content_type"], properties["content_encoding"]) == ("application/json", "utf-8")
    assert (properties["delivery_mode"], properties["expiration"]) == (1, "10000")
    assert "priority" not in properties and "compression" not in properties["application_headers"]
    assert properties["application_headers"]["timelimit"] == [None, None]
    again = hintmessage.message("reports")
    assert again.properties["correlation_id"] != properties["correlation_id"]


# -- the worker ------------------------------------------------------------------------------------------------------


def start_worker(project: Celery, *queues: str) -> None:
    """Do what Celery's own worker does first."""
    instance = SimpleNamespace(app=project)
    instance.setup_queues = lambda include, exclude: project.amqp.queues.select(include)
    keep_promises(instance, {"queues": list(queues)})


def test_a_worker_for_jobs_never_gives_up_its_broker() -> None:
    project = app(
        broker_connection_retry=False,
        broker_connection_retry_on_startup=False,
        broker_connection_max_retries=1,
        broker_channel_error_retry=False,
    )
    start_worker(project, "default")
    assert project.conf.broker_connection_retry and project.conf.broker_connection_retry_on_startup
    assert project.conf.broker_connection_max_retries is None and project.conf.broker_channel_error_retry
    assert project.conf.worker_consumer == "jobs.consumer:PromptConsumer"


def test_a_worker_for_other_queues_is_as_its_project_set_it_up() -> None:
    project = app(broker_connection_retry=False, worker_prefetch_multiplier=0)
    start_worker(project, "mails")
    assert not project.conf.broker_connection_retry
    assert project.conf.worker_consumer == "celery.worker.consumer:Consumer"


def test_a_worker_can_serve_jobs_where_celery_creates_no_queues() -> None:
    project = app(task_create_missing_queues=False, task_queues=[Queue("mails")])
    assert queue_of(project, "default").name == "default"
    start_worker(project, "default")
    assert list(project.amqp.queues.consume_from) == ["default"]


def test_a_worker_for_jobs_ends_with_a_sentence_for_what_is_refused() -> None:
    with pytest.raises(SystemExit) as ended:
        start_worker(app(worker_prefetch_multiplier=0), "default")
    assert str(ended.value.code).startswith("CELERY_WORKER_PREFETCH_MULTIPLIER is 0")


# -- what is refused -------------------------------------------------------------------------------------------------


class Strange:
    """A consumer of a project."""


class Derived(PromptConsumer):
    """A consumer of a project that keeps our promises."""


@pytest.mark.parametrize(
    ("settings", "id"),
    [
        ({"task_always_eager": True}, "jobs.E003"),
        ({"broker_url": "redis://:secret@host/0"}, "jobs.E007"),
        ({"accept_content": ["yaml"]}, "jobs.E008"),
        ({"accept_content": ["json", "pickle"]}, "jobs.E009"),
        ({"accept_content": ["json", "application/x-python-serialize"]}, "jobs.E009"),
        ({"worker_prefetch_multiplier": 0}, "jobs.E010"),
        ({"worker_consumer": f"{__name__}:Strange"}, "jobs.E011"),
        ({"worker_consumer": "nowhere:Consumer"}, "jobs.E011"),
        ({"task_queues": [Queue("shop.default", alias="default")]}, "jobs.E012"),
    ],
)
def test_a_setting_that_would_break_a_promise_is_refused(settings: dict[str, Any], id: str) -> None:
    assert ids(**settings) == [id]
    with override_settings(SILENCED_SYSTEM_CHECKS=[id]):
        assert ids(**settings) == []


@pytest.mark.parametrize(
    "settings",
    [
        {},
        HOSTILE_TO_TASKS,
        {"accept_content": ["application/json", "yaml", "msgpack"]},
        {"worker_consumer": f"{__name__}:Derived"},
        {"worker_consumer": "jobs.consumer:PromptConsumer"},
        {"broker_url": ["amqps://one/x", "pyamqp://two"]},
        {"broker_url": "pgmq://user:secret@host/name"},
        {"task_queues": [Queue("mails")], "task_create_missing_queues": False},
    ],
)
def test_what_breaks_no_promise_is_not_refused(settings: dict[str, Any]) -> None:
    assert ids(**settings) == []


@pytest.mark.parametrize(
    "settings",
    [
        {"broker_url": "redis://:secret@host:6379/0"},
        {"broker_url": "rediss://:secret@host"},
        {"broker_url": "sentinel://:secret@host"},
        {"broker_url": "sqs://key:secret@"},
        {"broker_url": "mongodb://user:secret@host"},
        {"broker_url": "memory://"},
        {"broker_url": "filesystem://"},
        {"broker_url": "sqla+postgresql://user:secret@host/x"},
        {"broker_url": "librabbitmq://user:secret@host"},
        {"broker_url": "amqp://one;redis://:secret@two"},
        {"broker_url": ["amqp://one", "redis://:secret@two"]},
        {"broker_read_url": "redis://:secret@host"},
        {"broker_write_url": "redis://:secret@host"},
        {"broker_url": "nonsense://:secret@host"},
        {"broker_transport": "redis"},
        {"broker_transport": "shop.transports:Transport"},
    ],
)
def test_a_broker_that_jobs_cannot_use_is_refused_in_one_sentence_without_its_secret(settings: dict[str, Any]) -> None:
    sentence = str(broker_problem(app(**settings)))
    assert sentence.startswith(f"CELERY_{next(iter(settings)).upper()} names a broker of the kind '")
    assert "amqp://" in sentence and "secret" not in sentence and "\n" not in sentence


@pytest.fixture
def redis_project() -> Iterator[None]:
    """The current application has a broker that jobs cannot use, and Kombu lacks the library for it."""
    former = current_app._get_current_object()
    made = Celery("shop", broker="redis://:secret@host")
    yield
    former.set_current()
    made.close()


def test_who_requests_a_run_with_such_a_broker_logs_the_sentence(
    redis_project: None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hints._quiet, "until", 0.0)
    assert messages.hint({"default": 1}) is False
    assert "names a broker of the kind 'redis', which jobs cannot use" in caplog.text
    assert "Traceback" not in caplog.text and "secret" not in caplog.text


@pytest.fixture
def pickling() -> Iterator[None]:
    before = current_app.conf.accept_content
    current_app.conf.accept_content = ["json", "pickle"]
    yield
    current_app.conf.accept_content = before


def test_check_and_doctor_say_the_same(pickling: None) -> None:
    [checked] = [message for message in run_checks(tags=["jobs"]) if message.id == "jobs.E009"]
    [found] = celerysettings.look()
    assert checked.is_serious() and found.level is preflight.Level.ERROR
    assert checked.msg == found.sentence


def test_the_queues_of_this_project_are_known() -> None:
    assert "default" in conf().queues
