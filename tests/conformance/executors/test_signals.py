"""Every kind reports an end by a signal in the same way: the signal itself, and the exit code 128 + n."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from jobsched.domain.outcomes import Assignment, Report, Verdict
from jobsched.engine import Pulse, Slot
from jobsched.shim.lease import lease_clock
from jobsched.shim.tree import descendants
from tests.conformance.executors.server import running
from tests.engine_kit import LEASE_SECONDS, ScriptedWatch, assignment, call, shell

Perform = Callable[[Assignment], Report]


@pytest.fixture(scope="module")
def slot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slot]:
    with Slot(workspace_dir=tmp_path_factory.mktemp("workspaces")) as made:
        yield made


@pytest.fixture
def perform(slot: Slot) -> Perform:
    return lambda work: slot.perform(work, ScriptedWatch(), deadline=lease_clock() + LEASE_SECONDS)


def step(command: str, **keys: object) -> Assignment:
    return assignment("steps", {"steps": [{"name": "first", "run": command, **keys}]}, grace_seconds=20.0)


@pytest.mark.parametrize(
    "work",
    [
        pytest.param(shell("kill -s KILL $$"), id="shell ends by the signal"),
        pytest.param(shell("sh -c 'kill -s KILL $$'; exit $?"), id="shell reports the signal of a command"),
        pytest.param(
            assignment("shell", {"command": "exec sh -c 'kill -s KILL $$'", "shell": "/bin/bash"}),
            id="another shell, replaced by its command",
        ),
        pytest.param(
            assignment("shell", {"command": "sh -c 'kill -s KILL $$'; exit $?", "shell": "/bin/bash"}),
            id="another shell",
        ),
        pytest.param(step("kill -s KILL $$"), id="step ends by the signal"),
        pytest.param(step("sh -c 'kill -s KILL $$'; exit $?"), id="step reports the signal of a command"),
        pytest.param(step("kill -s KILL $PPID; sleep 60"), id="step kills the process that runs the steps"),
        pytest.param(call("end_by_signal", params={"number": signal.SIGKILL}), id="callable"),
    ],
)
def test_an_end_by_sigkill_is_signal_9_and_exit_code_137(work: Assignment, perform: Perform) -> None:
    outcome = perform(work).outcome
    assert (outcome.verdict, outcome.signal, outcome.exit_code) == (Verdict.FAILED, 9, 137)
    assert "signal 9 (SIGKILL)" in outcome.reason
    assert outcome.error is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGSEGV, signal.SIGRTMIN + 3])
@pytest.mark.parametrize("kind", ["shell", "steps", "python"])
def test_any_signal_that_ends_the_work_is_recorded(kind: str, number: int, perform: Perform) -> None:
    command = f"kill -s {number} $$; sleep 60"
    works = {
        "shell": shell(command),
        "steps": step(command),
        "python": call("end_by_signal", params={"number": int(number)}),
    }
    outcome = perform(works[kind]).outcome
    assert (outcome.verdict, outcome.signal, outcome.exit_code) == (Verdict.FAILED, number, 128 + number)


@dataclass
class KillingWatch(ScriptedWatch):
    """At its first heartbeat, kills the process of the run."""

    slot: Slot | None = None

    def heartbeat(self) -> Pulse:
        assert self.slot is not None and self.slot.shim is not None
        for pid in descendants(self.slot.shim.pid):
            os.kill(pid, signal.SIGKILL)
        return super().heartbeat()


def test_an_http_request_whose_process_is_killed_is_signal_9_and_exit_code_137(slot: Slot) -> None:
    with running() as address:
        work = assignment("http", {"url": f"{address}/silent"})
        watch = KillingWatch(slot=slot, heartbeat_seconds=0.3)
        outcome = slot.perform(work, watch, deadline=lease_clock() + LEASE_SECONDS).outcome
    assert (outcome.verdict, outcome.signal, outcome.exit_code) == (Verdict.FAILED, 9, 137)


def test_each_step_records_its_signal(perform: Perform) -> None:
    [section] = perform(step("kill -s KILL $$")).sections
    assert (section.verdict, section.exit_code, section.signal) == (Verdict.FAILED, 137, 9)


def test_work_that_is_asked_to_end_records_the_signal_that_ended_it(perform: Perform) -> None:
    outcome = perform(shell("sleep 60", timeout_seconds=0.3, grace_seconds=20.0)).outcome
    assert (outcome.verdict, outcome.signal, outcome.exit_code) == (Verdict.TIMED_OUT, 15, 143)
    outcome = perform(shell("trap '' TERM; while :; do sleep 1; done", timeout_seconds=0.3, grace_seconds=0.1)).outcome
    assert (outcome.verdict, outcome.signal, outcome.exit_code) == (Verdict.TIMED_OUT, 9, 137)


def test_a_step_that_overran_records_the_signal_that_ended_it(perform: Perform) -> None:
    outcome = perform(step("sleep 60", timeout_seconds=0.3)).outcome
    assert (outcome.verdict, outcome.signal, outcome.exit_code) == (Verdict.TIMED_OUT, 15, 143)


@pytest.mark.parametrize("code", [1, 75, 128, 161, 193, 255])
def test_an_exit_code_that_stands_for_no_signal_is_no_signal(code: int, perform: Perform) -> None:
    outcome = perform(shell(f"exit {code}")).outcome
    assert (outcome.verdict, outcome.signal, outcome.exit_code) == (Verdict.FAILED, None, code)


def test_the_exit_code_of_a_callable_is_only_that(perform: Perform) -> None:
    outcome = perform(call("exit_politely", params={"code": 137})).outcome
    assert (outcome.verdict, outcome.signal, outcome.exit_code) == (Verdict.FAILED, None, 137)
