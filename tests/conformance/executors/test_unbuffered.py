"""Python programs that a run starts write their output at once, and not only at their end."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobsched.domain.outcomes import Assignment, Verdict
from jobsched.engine import Slot
from jobsched.shim.lease import lease_clock
from tests.engine_kit import LEASE_SECONDS, ScriptedWatch, assignment, call, shell

WAITING = f"{shlex.quote(sys.executable)} -c 'print(\"begun\"); import time; time.sleep(120)'"
SHOW = 'printf "%s" "${PYTHONUNBUFFERED-unset}"'
CALLABLES = "tests.conformance.executors.callables:"


@pytest.fixture(scope="module")
def slot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slot]:
    with Slot(workspace_dir=tmp_path_factory.mktemp("workspaces")) as made:
        yield made


@pytest.mark.parametrize(
    "work",
    [
        shell(WAITING),
        assignment("steps", {"steps": [{"name": "Wait", "run": WAITING}]}),
        call("run_command", params={"command": WAITING}),
    ],
    ids=["shell", "steps", "python"],
)
def test_a_line_arrives_while_the_program_goes_on(work: Assignment, slot: Slot) -> None:
    """The program ends by the cancel that follows its first line. The lease ends it where no line arrives."""
    watch = ScriptedWatch(heartbeat_seconds=0.2)

    def cancel(chunk: bytes) -> None:
        watch.answer = {"cancel_requested": True}

    watch.on_flush = cancel
    watch.give_up_after = 30.0
    report = slot.perform(work, watch, deadline=lease_clock() + LEASE_SECONDS)
    assert report.output.startswith(b"begun\n")
    assert report.outcome.verdict is Verdict.CANCELLED


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("shell", {"command": SHOW}),
        ("steps", {"steps": [{"name": "Show", "run": SHOW}]}),
        ("python", {"call": CALLABLES + "run_command"}),
    ],
)
@pytest.mark.parametrize(
    ("env", "shown"), [({}, "1"), ({"PYTHONUNBUFFERED": ""}, ""), ({"PYTHONUNBUFFERED": "x"}, "x")]
)
def test_the_env_of_a_job_decides(kind: str, spec: dict[str, Any], env: dict[str, str], shown: str, slot: Slot) -> None:
    params = {"command": SHOW} if kind == "python" else {}
    work = assignment(kind, spec, env=env, params=params)
    report = slot.perform(work, ScriptedWatch(), deadline=lease_clock() + LEASE_SECONDS)
    assert (report.outcome.reason, report.output.decode()) == ("", shown)


def test_the_env_of_a_job_decides_where_the_worker_has_the_variable_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "PYTHONUNBUFFERED", "1")
    work = call("run_command", params={"command": SHOW}, env={"PYTHONUNBUFFERED": ""})
    with Slot(workspace_dir=tmp_path / "workspaces") as slot:
        report = slot.perform(work, ScriptedWatch(), deadline=lease_clock() + LEASE_SECONDS)
    assert (report.outcome.reason, report.output) == ("", b"")


def test_a_step_decides_for_itself(slot: Slot) -> None:
    steps = [{"name": "One", "run": SHOW, "env": {"PYTHONUNBUFFERED": "own"}}, {"name": "Two", "run": SHOW}]
    report = slot.perform(
        assignment("steps", {"steps": steps}), ScriptedWatch(), deadline=lease_clock() + LEASE_SECONDS
    )
    assert [section.output for section in report.sections] == ["own", "1"]
