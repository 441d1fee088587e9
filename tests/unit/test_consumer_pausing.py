"""Hints that a worker holds when it finds that it cannot reach the database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from celery.worker.state import reserved_requests
from kombu.message import Message

from jobs import worker
from jobs.consumer.pausing import PauseStep
from jobs.tasks import HeldHint, work


class Channel:
    """Records the answers to the broker."""

    no_ack_consumers = None

    def __init__(self) -> None:
        self.answers: list[str] = []

    def basic_ack(self, *_: Any, **__: Any) -> None:
        self.answers.append("ack")

    def basic_reject(self, *_: Any, requeue: bool, **__: Any) -> None:
        self.answers.append("requeue" if requeue else "reject")


class TaskConsumer:
    def consuming_from(self, queue: str) -> bool:
        return False


@pytest.fixture
def cut_off() -> Iterator[None]:
    worker.set_cut_off(1.0)
    yield
    worker.set_cut_off(None)


@pytest.fixture
def channel() -> Channel:
    return Channel()


@pytest.fixture
def scheduled() -> list[Callable[[], None]]:
    """Answers that wait for the event loop, in which Celery sends them."""
    return []


@pytest.fixture
def hint(channel: Channel, scheduled: list[Callable[[], None]]) -> Iterator[HeldHint]:
    message = Message(
        channel=channel,
        delivery_tag=1,
        body=b'[["default"], {}, {}]',
        content_type="application/json",
        content_encoding="utf-8",
        delivery_info={"routing_key": "default"},
        headers={"task": work.name, "id": str(uuid4()), "lang": "py"},
    )
    request = HeldHint(
        message,
        on_ack=lambda logger, errors: scheduled.append(lambda: message.ack_log_error(logger, errors)),
        app=work.app,
        task=work,
        connection_errors=(OSError,),
        hostname="test",
        eventer=None,
    )
    reserved_requests.add(request)
    yield request
    reserved_requests.discard(request)


def look() -> None:
    PauseStep(SimpleNamespace())._look(SimpleNamespace(task_consumer=TaskConsumer()))


@pytest.mark.usefixtures("cut_off")
def test_a_hint_that_no_slot_has_taken_goes_back_to_its_queue(hint: HeldHint, channel: Channel) -> None:
    look()
    hint.on_accepted(1, time.monotonic())  # a slot takes it all the same
    assert channel.answers == ["requeue"]


@pytest.mark.usefixtures("cut_off")
def test_a_hint_is_not_requeued_when_its_acknowledgement_is_scheduled(
    hint: HeldHint, channel: Channel, scheduled: list[Callable[[], None]]
) -> None:
    """A second answer raises in the event loop, which ends the worker."""
    hint.on_accepted(1, time.monotonic())
    look()
    for answer in scheduled:
        answer()
    assert channel.answers == ["ack"]
