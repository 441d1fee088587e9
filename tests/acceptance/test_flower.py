"""Flower lists each run under its job's name; hints stay out of its list."""

from __future__ import annotations

import base64
import http.client
import json
import re
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from flower.urls import handlers
from tornado.web import url

from jobs.models import Run
from jobsched.local.parts import Parts
from jobsched.local.ports import free_port
from tests.acceptance.conftest import ended
from tests.processes import Process, wait_for

CREDENTIALS = "admin:only-for-this-test"


@pytest.fixture
def port(broker_url: str, process_env: Mapping[str, str], processes: ExitStack, tmp_path: Path) -> int:
    """Start Flower and return its port."""
    port = free_port()
    parts = Parts(env=dict(process_env), logs=tmp_path)
    processes.enter_context(Process(parts.flower(port, credentials=CREDENTIALS)))
    return port


@pytest.fixture
def flower(port: int) -> Callable[..., dict[str, Any]]:
    """Return a reader of Flower's API."""

    def read(path: str, *, credentials: str | None = CREDENTIALS) -> dict[str, Any]:
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
        if credentials:
            request.add_header("Authorization", "Basic " + base64.b64encode(credentials.encode()).decode())
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    return read


def test_runs_are_listed_under_their_jobs_name(
    flower: Callable[..., dict[str, Any]],
    save: Callable[..., str],
    request_run: Callable[..., Run],
    start_worker: Callable[..., Process],
) -> None:
    import tests.sample_callables  # noqa: F401 - known here as it is to the worker

    start_worker(env={"JOBSCHED_IMPORTS": "tests.sample_callables"})
    wait_for(lambda: flower("/api/workers?refresh=1"), what="the worker in Flower")
    save("Nightly report", run="sleep 0.3")
    save("Broken report", run="exit 3")
    save("Trusted report", call="sample.trusted")
    good, bad = ended(request_run("Nightly report")), ended(request_run("Broken report"))
    trusted = ended(request_run("Trusted report"))

    def listed() -> dict[str, Any]:
        tasks = flower("/api/tasks")
        ids = {f"run-{run.pk}" for run in (good, bad, trusted)}
        done = all(tasks.get(uuid, {}).get("state") in ("SUCCESS", "FAILURE") for uuid in ids)
        return tasks if done else {}

    tasks = wait_for(listed, what="all runs in Flower")

    assert {task["name"] for task in tasks.values()} == {"Nightly report", "Broken report", "Trusted report"}
    first, second = tasks[f"run-{good.pk}"], tasks[f"run-{bad.pk}"]
    assert (first["state"], second["state"]) == ("SUCCESS", "FAILURE")
    assert first["runtime"] >= 0.3 and second["runtime"] > 0
    assert good.worker and first["worker"] == good.worker.split("/")[0]
    assert "exit code 3" in second["exception"]
    assert tasks[f"run-{trusted.pk}"]["state"] == "SUCCESS"


def address(rule: Any) -> str:
    pattern = rule.regex.pattern if isinstance(rule, url) else rule[0]
    return re.sub(r"\(\.[*+]\)|\.\*", "x", pattern.removesuffix("$").removesuffix("/?"))


ADDRESSES = [address(rule) for rule in handlers if address(rule) != "x"] + ["/nowhere", "//metrics", "/metrics/"]
"""One of every pattern that Flower has a handler for."""
WRONG = [
    {},
    *({"Authorization": f"Basic {text}"} for text in ("", "x", "!", base64.b64encode(b"admin:wrong").decode())),
    {"Authorization": "Bearer " + base64.b64encode(CREDENTIALS.encode()).decode()},
    {"Authorization": "Basic " + base64.b64encode(b"admin:\xff\x00").decode()},
]
SOCKET = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": "x" * 22, "Sec-WebSocket-Version": "13"}


def status(port: int, method: str, path: str, headers: Mapping[str, str]) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, headers=dict(headers))
        return connection.getresponse().status
    finally:
        connection.close()


def test_every_address_but_the_health_check_asks_for_the_password(port: int) -> None:
    assert "/metrics" in ADDRESSES and "/api/tasks" in ADDRESSES and "/static/x" in ADDRESSES
    answers = {
        (method, path, str(headers)): status(port, method, path, headers)
        for path in ADDRESSES
        if path != "/healthcheck"
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
        for headers in (WRONG if method == "GET" else WRONG[:1])
    }
    answers |= {path: status(port, "GET", path, SOCKET) for path in ("/", "/api/tasks", "/update-workers", "/metrics")}
    assert set(answers.values()) == {401}, answers
    assert status(port, "GET", "/healthcheck", {}) == 200
    assert status(port, "GET", "/healthcheck/../metrics", {}) == 401
    signed_in = {"Authorization": "Basic " + base64.b64encode(CREDENTIALS.encode()).decode()}
    assert [status(port, "GET", path, signed_in) for path in ("/metrics", "/", "/static/css/bootstrap.min.css")] == [
        200
    ] * 3
