"""Processes that are still running when the work of a run has ended: killed, and reported as the job asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jobsched.domain.outcomes import Assignment, Report, Verdict
from jobsched.engine import Slot
from jobsched.shim.lease import lease_clock
from tests.engine_kit import LEASE_SECONDS, ScriptedWatch, alive, assignment, call, marker, shell

Perform = Callable[..., Report]


@pytest.fixture(scope="module", params=["auto", "subreaper"])
def slot(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slot]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("JOBSCHED_ISOLATION", request.param)
        with Slot(workspace_dir=tmp_path_factory.mktemp("workspaces")) as made:
            made.warm()
            yield made


@pytest.fixture
def perform(slot: Slot) -> Perform:
    def perform(work: Assignment, **watching: Any) -> Report:
        return slot.perform(work, ScriptedWatch(**watching), deadline=lease_clock() + LEASE_SECONDS)

    return perform


def steps(*commands: str, **details: Any) -> Assignment:
    named = [{"name": f"step {number}", "run": run} for number, run in enumerate(commands, 1)]
    return assignment("steps", {"steps": named}, **details)


def leaving(kind: str, unique: str, **details: Any) -> Assignment:
    """Work that succeeds and leaves one `sleep` behind."""
    match kind:
        case "shell":
            return shell(f"setsid sleep {unique} &", **details)
        case "steps":
            return steps(f"sleep {unique} &", "true", **details)
    return call("leave_behind", params={"marker": unique}, **details)


every_kind = pytest.mark.parametrize("kind", ["shell", "steps", "python"])


@every_kind
def test_what_is_still_running_is_killed_and_the_run_carries_a_warning(kind: str, perform: Perform) -> None:
    unique = marker()
    report = perform(leaving(kind, unique))
    assert (report.outcome.verdict, report.outcome.reason) == (Verdict.SUCCEEDED, "")
    assert report.outcome.warning == "1 process was still running when the work ended, and killed: sleep"
    assert [(process.name, process.ended) for process in report.processes] == [("sleep", "signal 9 (SIGKILL)")]
    assert not alive(unique)


@every_kind
def test_background_fail_makes_it_a_failure(kind: str, perform: Perform) -> None:
    unique = marker()
    outcome = perform(leaving(kind, unique, background="fail")).outcome
    assert (outcome.verdict, outcome.error) == (Verdict.FAILED, "BackgroundKilled")
    assert outcome.reason == ("1 process was still running when the work ended, and killed: sleep (background: fail)")
    assert not alive(unique)


@every_kind
def test_background_ignore_kills_without_a_warning(kind: str, perform: Perform) -> None:
    unique = marker()
    outcome = perform(leaving(kind, unique, background="ignore")).outcome
    assert (outcome.verdict, outcome.warning) == (Verdict.SUCCEEDED, "")
    assert not alive(unique)


def test_the_warning_counts_the_processes_by_name(perform: Perform) -> None:
    report = perform(shell("for i in 1 2 3; do sleep 60 & done; tail -f /dev/null & sleep 0.3"))
    assert report.outcome.warning == (
        "4 processes were still running when the work ended, and killed: sleep (3 times), tail"
    )


def test_a_failure_carries_the_warning_beside_its_own_reason(perform: Perform) -> None:
    outcome = perform(shell("sleep 60 & exit 3", background="fail")).outcome
    assert (outcome.reason, outcome.exit_code, outcome.error) == ("exit code 3", 3, None)
    assert outcome.warning.startswith("1 process was still running")


@pytest.mark.parametrize(
    "command",
    [
        "sleep 0.1 & sleep 0.3",  # has ended, and nobody has waited for it
        "sleep 0.1 & wait",
        "setsid sh -c 'sleep 0.1 & exit' & sleep 0.5",  # an orphan that has ended
        "echo end | cat",
    ],
)
def test_a_background_process_that_has_ended_is_no_warning(command: str, perform: Perform) -> None:
    outcome = perform(shell(command, background="fail")).outcome
    assert (outcome.verdict, outcome.warning) == (Verdict.SUCCEEDED, "")


def test_a_process_that_ends_with_the_command_is_no_warning(perform: Perform) -> None:
    """A shell does not wait for a process substitution; its reader ends as soon as the shell closes the pipe."""
    command = "echo kept > >(cat)"
    outcome = perform(assignment("shell", {"command": command, "shell": "/bin/bash"}, background="fail"))
    assert (outcome.outcome.verdict, outcome.outcome.warning, outcome.output) == (Verdict.SUCCEEDED, "", b"kept\n")


def test_a_process_of_one_step_serves_the_next_and_is_killed_at_the_end_of_the_run(perform: Perform) -> None:
    report = perform(steps("sleep 60 & echo $! > pid", "kill -0 $(cat pid) && echo served"))
    assert b"served" in report.output
    assert report.outcome.warning == "1 process was still running when the work ended, and killed: sleep"


def test_work_that_was_asked_to_end_carries_no_warning(perform: Perform) -> None:
    work = shell("(trap '' TERM; while :; do sleep 1; done) & sleep 60", timeout_seconds=0.4, background="fail")
    outcome = perform(work).outcome
    assert (outcome.verdict, outcome.warning) == (Verdict.TIMED_OUT, "")
