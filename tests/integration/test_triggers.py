"""A request of a run costs one statement and one message on a channel that is kept."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any

import amqp
import pytest
from celery import current_app
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from jobs.messages import hints, kept
from jobs.models import Job, Run
from jobs.services import control
from jobs.store import session
from jobsched.domain.errors import NotFound

pytestmark = pytest.mark.django_db(transaction=True)

QUEUE = "kept-hints"


@pytest.fixture
def waiting(broker_url: str) -> Iterator[Callable[[], int]]:
    """Return how many hints lie in the queue of the test's job."""
    hints._quiet.until = 0.0
    with current_app.connection_for_write() as opened:
        channel = opened.channel()
        channel.queue_declare(QUEUE, durable=True, auto_delete=False)
        channel.queue_purge(QUEUE)
        yield lambda: channel.queue_declare(QUEUE, passive=True).message_count
        channel.queue_delete(QUEUE)


def test_a_trigger_is_one_statement(make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch) -> None:
    make_job()
    monkeypatch.setattr("jobs.messages.hints.hint", lambda waiting: True)
    statements: list[str] = []
    run = session._on_django

    def count(sql: str, params: Any, *, prepare: bool) -> Any:
        statements.append(sql)
        return run(sql, params, prepare=prepare)

    monkeypatch.setattr(session, "_on_django", count)
    with CaptureQueriesContext(connection) as orm:
        made = control.trigger(job="Noop", actor="ada", params={"a": [1, "x"]})
        assert (made.job.name, made.job.project.name, made.state) == ("Noop", "default", "queued")
    assert len(statements) == 1 and not orm.captured_queries


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"params": {"a": {"b": [1, None, "ü"]}}, "priority": 9},
        {"at": datetime.now(UTC) + timedelta(days=3)},
        {"count": 3},
    ],
)
def test_a_trigger_returns_runs_as_they_are_stored(make_job: Callable[..., Job], asked: dict[str, Any]) -> None:
    make_job(timeout=timedelta(minutes=5), max_wait=timedelta(minutes=7), deadline=timedelta(hours=1))
    made = control.trigger_many(job="Noop", actor="ada", **{"count": 1, **asked})
    stored = list(Run.objects.order_by("id"))
    assert made == stored and len(made) == asked.get("count", 1)
    for one, other in zip(made, stored, strict=True):
        for field in Run._meta.concrete_fields:
            assert getattr(one, field.attname) == getattr(other, field.attname), field.attname
        assert one.job.limited is False and one.job.spec == {"command": "true"}, "the rest of the job is read"


def test_a_job_that_is_not_there_is_not_found(make_job: Callable[..., Job]) -> None:
    make_job(archived_at=datetime.now(UTC))
    with pytest.raises(NotFound, match="no job 'Noop' in project 'default'"):
        control.trigger(job="Noop", actor="ada")


def test_hints_of_one_thread_go_over_one_channel(waiting: Callable[[], int], monkeypatch: pytest.MonkeyPatch) -> None:
    assert hints.hint({QUEUE: 1})
    channels: list[amqp.Channel] = []
    monkeypatch.setattr(amqp.Connection, "channel", lambda self, *_, **__: channels.append(self))
    assert all(hints.hint({QUEUE: 2}) for _ in range(5))
    assert not channels
    assert waiting() == 11


def test_each_copy_of_a_hint_is_a_task_of_its_own(waiting: Callable[[], int]) -> None:
    hints.hint({QUEUE: 3})
    with current_app.connection_for_write() as opened:
        channel = opened.channel()
        got = [channel.basic_get(QUEUE, no_ack=True) for _ in range(3)]
    assert len({one.headers["id"] for one in got} | {one.properties["correlation_id"] for one in got}) == 3


def test_a_hint_is_sent_after_the_commit_and_not_after_a_rollback(
    make_job: Callable[..., Job], waiting: Callable[[], int]
) -> None:
    make_job(queue=QUEUE)
    with transaction.atomic():
        control.trigger(job="Noop", actor="ada")
        assert waiting() == 0
    assert waiting() == 1
    with pytest.raises(RuntimeError), transaction.atomic():
        control.trigger(job="Noop", actor="ada")
        raise RuntimeError
    assert waiting() == 1


def test_a_connection_that_broke_meanwhile_is_opened_again(waiting: Callable[[], int]) -> None:
    assert hints.hint({QUEUE: 1})
    broken = kept.sender(5)
    broken._connection.connection.transport.sock.shutdown(socket.SHUT_RDWR)
    assert hints.hint({QUEUE: 1})
    assert kept.sender(5) is not broken
    assert waiting() == 2


def test_a_forked_process_has_a_connection_of_its_own_and_leaves_its_parents_alone(
    waiting: Callable[[], int],
) -> None:
    assert hints.hint({QUEUE: 1})
    ours = kept.sender(5)
    pid = os.fork()
    if not pid:
        status = 1
        try:
            status = 0 if hints.hint({QUEUE: 1}) and kept.sender(5) is not ours else 1
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    assert hints.hint({QUEUE: 1})
    assert kept.sender(5) is ours
    assert waiting() == 3


def test_a_thread_has_a_connection_of_its_own_which_is_closed_after_its_end(waiting: Callable[[], int]) -> None:
    senders: list[kept.Sender] = []

    def work() -> None:
        hints.hint({QUEUE: 1})
        senders.append(kept.sender(5))

    assert hints.hint({QUEUE: 1})
    ours = kept.sender(5)
    thread = Thread(target=work)
    thread.start()
    thread.join(60)
    [theirs] = senders
    assert theirs is not ours
    kept.forget(ours)
    assert hints.hint({QUEUE: 1}), "another connection is opened, and then those of ended threads are closed"
    assert not theirs._connection.connected
    assert waiting() == 3


def test_a_connection_that_a_thread_takes_over_meanwhile_is_not_closed(waiting: Callable[[], int]) -> None:
    assert hints.hint({QUEUE: 1})
    ours, key = kept.sender(5), kept._key()

    class Ended(Thread):
        def is_alive(self) -> bool:
            kept.sender(5)  # this thread has the number of the ended one, and needs its sender just now
            return False

    kept._senders[key] = (Ended(), ours)
    kept._close_those_of_ended_threads()
    assert kept.sender(5) is ours
    assert hints.hint({QUEUE: 1}) and waiting() == 2
