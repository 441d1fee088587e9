"""Messages of plain tasks over a transport without confirms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from celery import Celery, current_app

from jobs import messages


@dataclass(frozen=True, kw_only=True)
class Row:
    name: str
    task: str = "elsewhere.add"
    args: str = "[1]"
    kwargs: str = "{}"
    queue: str | None = None
    exchange: str | None = None
    routing_key: str | None = None
    headers: str | None = "{}"
    priority: int | None = None
    expires: datetime | None = None
    expire_seconds: int | None = None
    now: datetime = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def app() -> Iterator[Celery]:
    former = current_app._get_current_object()
    app = Celery("shop", broker="memory://", set_as_current=False)
    app.conf.task_default_queue = f"shop-{uuid4().hex}"
    app.set_current()
    yield app
    former.set_current()
    app.close()


def names(app: Celery) -> list[str]:
    with app.connection_for_read() as connection, connection.SimpleQueue(app.conf.task_default_queue) as queue:
        return [queue.get_nowait().headers["periodic_task_name"] for _ in range(queue.qsize())]


def test_messages_are_sent_in_order_and_what_cannot_be_one_is_told(app: Celery) -> None:
    broken = Row(name="broken", args="nonsense")

    [unsent] = messages.send_many([Row(name="a"), broken, Row(name="b")])

    assert (unsent.message, names(app)) == (broken, ["a", "b"])


def test_no_message_needs_no_broker(app: Celery) -> None:
    app.conf.broker_write_url = "amqp://nobody@127.0.0.1:1//"
    assert messages.send_many([]) == []


def test_a_broker_that_is_away_is_said_at_once(app: Celery) -> None:
    app.conf.broker_write_url = "amqp://nobody@127.0.0.1:1//"
    with pytest.raises(messages.BROKER_ERRORS):
        messages.send_many([Row(name="a")])
