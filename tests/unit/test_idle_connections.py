"""A slot gives its database connections back when it has been idle for a while, and never during a task."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from jobs import idle_connections
from jobs.idle_connections import IdleConnections


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(idle_connections, "close_in_this_thread", lambda wrappers: found.append("django"))
    return found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = [100.0]
    monkeypatch.setattr(idle_connections.time, "monotonic", lambda: now[0])

    def go_on(seconds: float) -> None:
        now[0] += seconds

    return go_on


def idle_after_20_seconds(closed: list[str]) -> IdleConnections:
    idle = IdleConnections(seconds=20)
    idle.also_close(lambda: closed.append("session"))
    return idle


def test_connections_are_closed_after_the_time_and_not_before(
    closed: list[str], clock: Callable[[float], None]
) -> None:
    idle = idle_after_20_seconds(closed)
    idle.begin()
    idle.end()
    clock(15)
    assert idle.look() == 5
    assert closed == []
    clock(5)
    idle.look()
    assert closed == ["session", "django"]


def test_nothing_is_closed_while_a_task_is_under_way(closed: list[str], clock: Callable[[float], None]) -> None:
    idle = idle_after_20_seconds(closed)
    idle.begin()
    idle.begin()  # an eager task inside of it
    idle.end()
    clock(3600)
    assert idle.look() == 20
    assert closed == []


def test_a_task_that_begins_waits_until_connections_are_closed(clock: Callable[[float], None]) -> None:
    idle = IdleConnections(seconds=20)
    closing, may_go_on, begun = threading.Event(), threading.Event(), threading.Event()

    def close() -> None:
        closing.set()
        may_go_on.wait(60)

    idle.also_close(close)
    idle.begin()
    idle.end()
    clock(20)
    watch = threading.Thread(target=idle.look)
    watch.start()
    assert closing.wait(60)
    task = threading.Thread(target=lambda: (idle.begin(), begun.set()))
    task.start()
    assert not begun.is_set()
    may_go_on.set()
    assert begun.wait(60)
    watch.join()
    task.join()


def test_the_process_of_a_run_takes_no_lock_of_the_slot_it_was_forked_from(
    closed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    idle = idle_after_20_seconds(closed)
    idle._lock.acquire()
    monkeypatch.setattr(idle_connections.os, "getpid", lambda: -1)
    idle.begin()
    idle.end()
