"""Flower lists each run under its job's name; hints stay out of its list."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from jobs.models import Run
from jobsched.local.parts import Parts
from jobsched.local.ports import free_port
from tests.acceptance.conftest import ended
from tests.processes import Process, wait_for

CREDENTIALS = "admin:only-for-this-test"


@pytest.fixture
def flower(
    broker_url: str, process_env: Mapping[str, str], processes: ExitStack, tmp_path: Path
) -> Callable[..., dict[str, Any]]:
    """Start Flower and return a reader of its API."""
    port = free_port()
    parts = Parts(env=dict(process_env), logs=tmp_path)
    processes.enter_context(Process(parts.flower(port, credentials=CREDENTIALS)))

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


@pytest.mark.parametrize("credentials", [None, "admin:wrong"])
def test_nothing_is_shown_without_the_password(flower: Callable[..., dict[str, Any]], credentials: str | None) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        flower("/api/tasks", credentials=credentials)
    assert refused.value.code == 401
