"""Workers that are cut off from one server and not from the other.

Without PostgreSQL a worker leaves hints to others. Back at RabbitMQ, it serves at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kombu import Connection

from jobs import messages
from jobs.models import Run
from jobs.services.preflight import workers
from jobs.services.preflight.findings import Finding, Level
from tests.acceptance.conftest import ended, running
from tests.chaos.proxies import Proxy
from tests.processes import Process, wait_for

PATIENT = {"JOBSCHED_LEASE_SECONDS": "120", "JOBSCHED_TCP_USER_TIMEOUT_SECONDS": "10"}
"""No lease of a worker with these settings ends during a test."""


@pytest.fixture
def wire(process_env: dict[str, str]) -> Iterator[Proxy]:
    """The worker's way to PostgreSQL. The test takes another."""
    with Proxy(process_env["JOBSCHED_DATABASE_URL"]) as proxy:
        yield proxy


def queue(broker_url: str) -> tuple[int, int]:
    """Return how many messages wait in the queue `default`, and how many consumers it has."""
    with Connection(broker_url) as connection, connection.channel() as channel:
        found = channel.queue_declare("default", passive=True)
        return found.message_count, found.consumer_count


def cut_off_workers() -> list[Finding]:
    """Return what doctor says of workers that cannot reach PostgreSQL."""
    return [finding for finding in workers.look(workers.ask()) if finding.check == "database"]


def has_ended(run: Run) -> bool:
    run.refresh_from_db()
    return run.state == "succeeded"


def complaints(log: str) -> list[str]:
    """Return what the log complains of. The look at the connections, once after each start, has a line of its own."""
    lines = [line for line in log.splitlines() if " jobs.services.preflight.connections " not in line]
    return [line for line in lines if " WARNING " in line or " ERROR " in line or "Traceback" in line]


@pytest.mark.parametrize("outage", ["refused", "silent"])
def test_a_worker_without_postgresql_takes_no_hints_and_is_not_healthy(
    save: Callable[..., str],
    request_run: Callable[..., Run],
    start_worker: Callable[..., Process],
    wire: Proxy,
    broker_url: str,
    tmp_path: Path,
    outage: str,
) -> None:
    began, may_end, health = tmp_path / "began", tmp_path / "may-end", tmp_path / "health"
    save(run="true")
    save("Long", run=f"touch {began}; until test -e {may_end}; do sleep 0.1; done")
    env = {**PATIENT, "JOBSCHED_DATABASE_URL": wire.url, "JOBSCHED_WORKER_HEALTH_FILE": str(health)}
    worker = start_worker(concurrency=2, env=env)
    long = running(request_run("Long"))
    wait_for(lambda: began.exists() and health.exists(), timeout=60, what="the work and the health file")
    start = len(worker.log())

    wire.cut() if outage == "refused" else wire.silence()
    wait_for(lambda: queue(broker_url)[1] == 0, timeout=60, what="the end of the consuming")
    health.unlink(missing_ok=True)

    wait_for(lambda: messages.hint({"default": 1}) and queue(broker_url)[0] > 0, what="a hint that nobody takes")
    assert queue(broker_url)[1] == 0
    [found] = wait_for(cut_off_workers, timeout=60, what="the finding of doctor")
    assert found.level is Level.ERROR and worker.name in found.sentence
    may_end.touch()
    wait_for(lambda: "attempt ended" in worker.log()[start:], timeout=60, what="the end of the run under way")
    assert not health.exists()

    wire.mend()

    assert ended(long).state == "succeeded"
    wait_for(health.exists, timeout=60, what="the health file after the outage")
    assert ended(request_run()).state == "succeeded"
    first, last = complaints(worker.log()[start:])
    assert "PostgreSQL cannot be reached: this worker takes no runs until it can error=" in first
    assert "PostgreSQL can be reached again, this worker takes runs again seconds=" in last


def test_a_worker_that_starts_without_postgresql_takes_runs_once_it_is_there(
    save: Callable[..., str], request_run: Callable[..., Run], start_worker: Callable[..., Process], wire: Proxy
) -> None:
    save(run="true")
    wire.cut()
    worker = start_worker(env={"JOBSCHED_DATABASE_URL": wire.url})
    wait_for(lambda: "takes no runs until it can" in worker.log(), timeout=60, what="the outage in the log")
    start = len(worker.log())

    wire.mend()

    wait_for(lambda: "takes runs again" in worker.log(), timeout=60, what="the end of the outage in the log")
    assert ended(request_run()).state == "succeeded"
    assert len(complaints(worker.log()[start:])) == 1


def test_a_worker_is_back_while_rabbitmq_still_holds_its_former_connection(
    save: Callable[..., str], request_run: Callable[..., Run], start_worker: Callable[..., Process], broker_url: str
) -> None:
    save(run="true")
    with Proxy(broker_url) as wire:
        worker = start_worker(env={"JOBSCHED_BROKER_URL": wire.url})
        assert ended(request_run()).state == "succeeded"
        start = len(worker.log())

        wire.strand()

        wait_for(lambda: "Connection to broker lost" in worker.log()[start:], timeout=60, what="the loss in the log")
        run = request_run()
        # As beats do: RabbitMQ may give a hint to the former connection.
        wait_for(lambda: messages.hint({"default": 1}) and has_ended(run), timeout=60, what="the end of the run")
        assert "RESOURCE_LOCKED" not in worker.log() and worker.log().count("Connection to broker lost") == 1
        wait_for(workers.ask, timeout=60, what="an answer to remote control")
