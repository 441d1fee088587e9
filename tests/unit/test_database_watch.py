"""When a worker asks whether it can reach the database, what it concludes, and what it logs."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from jobs import worker
from jobs.services import database_watch
from jobs.services.database_watch import REPEAT_SECONDS, TRUSTED_SECONDS, DatabaseWatch
from jobsched.domain.errors import Unavailable


class Server:
    """A database whose answers, and a clock whose moments, the test decides."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.reachable = True
        self.asked = 0

    def probe(self) -> None:
        self.asked += 1
        if not self.reachable:
            raise Unavailable("connection\nrefused")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server()
    monkeypatch.setattr(worker, "lease_clock", lambda: server.now)
    monkeypatch.setattr(worker, "_page", bytearray(len(worker._page)))
    yield server


@pytest.fixture
def watch(server: Server) -> DatabaseWatch:
    return DatabaseWatch(probe=server.probe, clock=lambda: server.now)


def test_nothing_is_asked_while_slots_get_answers(server: Server, watch: DatabaseWatch) -> None:
    for _ in range(10):
        server.now += TRUSTED_SECONDS
        worker.database_answered()
        watch.look()
    assert server.asked == 0


def test_an_idle_worker_asks_by_itself(server: Server, watch: DatabaseWatch) -> None:
    server.now += TRUSTED_SECONDS + 1
    watch.look()
    watch.look()
    assert server.asked == 1 and worker.cut_off_since() is None


def test_a_failure_of_a_slot_is_looked_into_at_once(server: Server, watch: DatabaseWatch) -> None:
    server.reachable = False
    server.now += 1
    worker.database_failed()
    watch.look()
    assert worker.cut_off_since() == server.now


def test_a_server_that_accepts_no_connection_but_answers_slots_is_there(
    server: Server, watch: DatabaseWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def probe() -> None:
        server.now += 1
        worker.database_answered()
        raise Unavailable("too many clients")

    monkeypatch.setattr(watch, "_probe", probe)
    server.now += 1
    worker.database_failed()
    watch.look()
    assert worker.cut_off_since() is None


def test_an_outage_is_logged_at_its_start_and_end_and_once_a_minute(
    server: Server, watch: DatabaseWatch, caplog: pytest.LogCaptureFixture
) -> None:
    server.reachable = False
    server.now += TRUSTED_SECONDS + 1
    with caplog.at_level(logging.INFO, database_watch.logger.name):
        for _ in range(300):
            watch.look()
            worker.database_failed()
            server.now += database_watch.LOOK_SECONDS
        server.reachable = True
        watch.look()
        watch.look()
    assert 2 * REPEAT_SECONDS < 300 * database_watch.LOOK_SECONDS < 3 * REPEAT_SECONDS
    assert [record.getMessage() for record in caplog.records] == [
        "PostgreSQL cannot be reached: this worker takes no runs until it can error=connection refused",
        "PostgreSQL still cannot be reached: this worker takes no runs seconds=60 error=connection refused",
        "PostgreSQL still cannot be reached: this worker takes no runs seconds=120 error=connection refused",
        "PostgreSQL can be reached again, this worker takes runs again seconds=150.0",
    ]


def test_a_connection_that_broke_alone_is_logged_once_a_minute(
    server: Server, watch: DatabaseWatch, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        server.now += 1
        worker.database_failed()
        server.now += 1
        watch.look()
    assert len(caplog.records) == 1 and worker.cut_off_since() is None
