"""What a callable has begun or registered is finished before its run ends: threads, pools, processes, exit hooks."""

from __future__ import annotations

import atexit
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobsched.domain.outcomes import Assignment, Report, Verdict
from jobsched.engine import Slot
from jobsched.shim.lease import lease_clock
from tests.conformance.executors import leftovers
from tests.engine_kit import LEASE_SECONDS, ScriptedWatch, assignment

Perform = Callable[..., Report]
LEFTOVERS = f"{leftovers.__name__}:"


@pytest.fixture(scope="module")
def inherited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that the exit hooks of the worker write, if they are called in the process of a run."""
    return tmp_path_factory.mktemp("worker") / "called"


@pytest.fixture(scope="module")
def slot(tmp_path_factory: pytest.TempPathFactory, inherited: Path) -> Iterator[Slot]:
    """A slot whose worker has exit hooks of every sort, as libraries that it imports register them."""
    kept = threading.Event()
    hooks = threading._threading_atexits  # type: ignore[attr-defined]
    atexit.register(inherited.write_text, "atexit")
    threading._register_atexit(inherited.write_text, "threading")  # type: ignore[attr-defined]
    finalizer = weakref.finalize(kept, inherited.write_text, "finalize")
    try:
        with Slot(workspace_dir=tmp_path_factory.mktemp("workspaces")) as made:
            made.warm()
            yield made
    finally:
        atexit.unregister(inherited.write_text)
        hooks.pop()
        finalizer.detach()


@pytest.fixture
def perform(slot: Slot) -> Perform:
    def perform(work: Assignment, **watching: Any) -> Report:
        return slot.perform(work, ScriptedWatch(**watching), deadline=lease_clock() + LEASE_SECONDS)

    return perform


def leftover(name: str, file: Path | None = None, **details: Any) -> Assignment:
    params = {} if file is None else {"file": str(file)}
    return assignment("python", {"call": LEFTOVERS + name}, params=params, **details)


@pytest.mark.parametrize(
    "name",
    [
        "start_thread",
        "start_thread_from_thread",
        "start_thread_until_main_ends",
        "start_thread_pool",
        "start_process_pool",
        "start_process",
        "spawn_process",
        "register_hook",
        "register_hook_of_threading",
        "register_finalizer",
        "register_finalizer_of_multiprocessing",
        "log_into_memory",
    ],
)
def test_work_that_goes_on_when_the_callable_has_returned_is_finished(
    name: str, perform: Perform, tmp_path: Path
) -> None:
    report = perform(leftover(name, tmp_path / "file"))
    assert (report.outcome.verdict, report.outcome.reason) == (Verdict.SUCCEEDED, ""), report.output.decode()
    assert (tmp_path / "file").read_text().strip() == "done"
    assert not report.processes


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("start_thread_and_fail", "ValueError"),
        ("register_hook_and_fail", "ValueError"),
        ("start_thread_and_exit", "SystemExit"),
    ],
)
def test_it_is_finished_also_when_the_callable_fails(name: str, error: str, perform: Perform, tmp_path: Path) -> None:
    report = perform(leftover(name, tmp_path / "file"))
    assert (report.outcome.verdict, report.outcome.error) == (Verdict.FAILED, error)
    assert (tmp_path / "file").read_text() == "done"


def test_a_daemon_thread_is_not_waited_for(perform: Perform, tmp_path: Path) -> None:
    assert perform(leftover("start_endless_daemon", tmp_path / "file")).outcome.verdict is Verdict.SUCCEEDED


def test_a_temporary_folder_is_removed_with_its_run(perform: Perform) -> None:
    folder = perform(leftover("make_temporary_folder")).outcome.result
    assert isinstance(folder, str) and not Path(folder).exists()


def test_helper_processes_of_multiprocessing_end_with_the_run(perform: Perform) -> None:
    report = perform(leftover("share_memory"))
    assert (report.outcome.verdict, report.processes) == (Verdict.SUCCEEDED, ())


@pytest.mark.parametrize("name", ["start_endless_thread", "wait_with_thread"])
def test_a_time_limit_ends_the_wait_for_threads_and_calls_the_hooks(
    name: str, perform: Perform, tmp_path: Path
) -> None:
    report = perform(leftover(name, tmp_path / "file", timeout_seconds=0.5, grace_seconds=20.0))
    assert report.outcome.verdict is Verdict.TIMED_OUT
    assert report.outcome.reason == "ran longer than its limit of 0.5 s; ended by SIGTERM"
    assert (tmp_path / "file").read_text() == "done"
    assert b"threads that were still working when the run had to end: endless" in report.output


def test_the_deadline_of_the_run_ends_the_wait_for_threads(perform: Perform, tmp_path: Path) -> None:
    work = leftover("start_endless_thread", tmp_path / "file", deadline_seconds=0.5, grace_seconds=20.0)
    outcome = perform(work).outcome
    assert outcome.reason == "the deadline of the whole run passed; ended by SIGTERM"


def test_a_cancel_ends_the_wait_for_threads(perform: Perform, tmp_path: Path) -> None:
    work = leftover("start_endless_thread", tmp_path / "file", grace_seconds=20.0)
    outcome = perform(work, heartbeat_seconds=0.4, answer={"cancel_requested": True}).outcome
    assert (outcome.verdict, outcome.reason) == (Verdict.CANCELLED, "cancelled on request; ended by SIGTERM")


def test_hooks_that_the_worker_registered_are_not_called_for_its_runs(
    perform: Perform, tmp_path: Path, inherited: Path
) -> None:
    assert perform(leftover("start_thread", tmp_path / "file")).outcome.result == "returned"
    assert not inherited.exists()
