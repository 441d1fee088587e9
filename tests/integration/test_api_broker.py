"""The API answers whether or not the broker does: the run is in the database, and that is what counts."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from knox.models import AuthToken

from jobs.models import Job
from jobs.store.session import Session
from jobsched.client import Client
from jobsched.local.servers import rabbitmq
from tests.chaos.broker_control import raise_memory_alarm
from tests.chaos.proxies import Proxy
from tests.integration.conftest import claim_next
from tests.processes import Process

PROMISED_SECONDS = 2.0
NOISE_SECONDS = 2.0
"""What a busy machine may add. A wait for the broker's own time limits would be far longer."""


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port where connections are taken and nothing is ever said: a broker that hangs."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def refusing_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def client(make_job: Callable[..., Job], start_web: Callable[..., Process]) -> Callable[[str], tuple[Client, Process]]:
    """Start the web process with a broker at this address."""

    def start(broker_url: str) -> tuple[Client, Process]:
        make_job()
        token = AuthToken.objects.create(User.objects.create_superuser("ann"))[1]
        web = start_web(env={"JOBSCHED_BROKER_URL": broker_url})
        client = Client(web.url, token)
        client.jobs()  # what only the first request costs
        return client, web

    return start


@pytest.mark.parametrize("broker", ["silent_port", "refusing_port"])
def test_a_request_does_not_wait_on_a_broker_that_is_away(
    request: pytest.FixtureRequest,
    client: Callable[[str], tuple[Client, Process]],
    session: Session,
    broker: str,
) -> None:
    api, web = client(f"amqp://u:p@127.0.0.1:{request.getfixturevalue(broker)}//")
    assert_answers_without_broker(api, web, session)


def test_a_request_does_not_wait_on_a_broker_beyond_a_cut_wire(
    broker_url: str, client: Callable[[str], tuple[Client, Process]], session: Session
) -> None:
    """Connections are open, and whatever goes into them disappears."""
    with Proxy(broker_url) as wire:
        api, web = client(wire.url)
        assert_answers_with_broker(api, web, session)
        wire.silence()
        assert_answers_without_broker(api, web, session)


def test_a_request_does_not_wait_on_a_broker_in_alarm(
    broker_url: str, client: Callable[[str], tuple[Client, Process]], session: Session, tmp_path: Path
) -> None:
    """It takes connections and messages, and answers nothing to whoever sent one."""
    with rabbitmq(tmp_path / "broker") as server:
        api, web = client(server.url)
        assert_answers_with_broker(api, web, session)
        raise_memory_alarm(server)
        assert_answers_without_broker(api, web, session)


def assert_answers_with_broker(api: Client, web: Process, session: Session) -> None:
    run = api.trigger("Noop")
    assert [claim.run_id for claim in claim_next(session)] == [run["id"]]
    api.cancel(run["id"])
    assert "hint not sent" not in web.log()
    assert "workers not notified" not in web.log()


def assert_answers_without_broker(api: Client, web: Process, session: Session) -> None:
    run, trigger_seconds = timed(lambda: api.trigger("Noop"))
    assert [claim.run_id for claim in claim_next(session)] == [run["id"]]
    time.sleep(2.5)  # the next request tries the broker again: the first one's finding holds for 2 s
    asked, cancel_seconds = timed(lambda: api.cancel(run["id"]))

    assert asked["cancel_requested_by"] == "ann"
    assert "hint not sent" in web.log()
    assert "workers not notified" in web.log()
    assert trigger_seconds < PROMISED_SECONDS + NOISE_SECONDS
    assert cancel_seconds < PROMISED_SECONDS + NOISE_SECONDS


def timed(call: Callable[[], dict[str, Any]]) -> tuple[dict[str, Any], float]:
    began = time.monotonic()
    return call(), time.monotonic() - began
