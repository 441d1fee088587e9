"""The API answers whether or not the broker does: the run is in the database, and that is what counts."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from knox.models import AuthToken

from jobs.models import Job
from jobs.store.session import Session
from jobsched.client import Client
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


@pytest.mark.parametrize("broker", ["silent_port", "refusing_port"])
def test_a_request_does_not_wait_on_a_broker_that_is_away(
    request: pytest.FixtureRequest,
    make_job: Callable[..., Job],
    session: Session,
    start_web: Callable[..., Process],
    broker: str,
) -> None:
    port = request.getfixturevalue(broker)
    make_job()
    token = AuthToken.objects.create(User.objects.create_superuser("ann"))[1]
    web = start_web(env={"JOBSCHED_BROKER_URL": f"amqp://u:p@127.0.0.1:{port}//"})
    client = Client(web.url, token)
    client.jobs()  # what only the first request costs

    run, trigger_seconds = timed(lambda: client.trigger("Noop"))
    assert [claim.run_id for claim in claim_next(session)] == [run["id"]]
    asked, cancel_seconds = timed(lambda: client.cancel(run["id"]))

    assert asked["cancel_requested_by"] == "ann"
    assert "hint not sent" in web.log()
    assert "workers not told" in web.log()
    assert trigger_seconds < PROMISED_SECONDS + NOISE_SECONDS
    assert cancel_seconds < PROMISED_SECONDS + NOISE_SECONDS


def timed(call: Callable[[], dict[str, Any]]) -> tuple[dict[str, Any], float]:
    began = time.monotonic()
    return call(), time.monotonic() - began
