"""What a run can see and reach when the worker has no special rights, as it should have none."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobsched import registry
from jobsched.domain.errors import InvalidInput
from jobsched.domain.outcomes import Assignment, Report, Verdict
from jobsched.engine import Slot
from jobsched.environment import environment
from jobsched.shim import libc
from jobsched.shim.isolation import Isolation, candidates
from jobsched.shim.lease import lease_clock
from tests.engine_kit import LEASE_SECONDS, ScriptedWatch, alive, call, marker, shell
from tests.unrun import needs

NOBODY = 60700
"""A user that has no process: servers of other tests may run as the account `nobody`."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may use; those of pytest are ours alone."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o777)
        yield path


@pytest.mark.parametrize(
    ("wanted", "tried"),
    [
        ("auto", (Isolation.NAMESPACE, Isolation.USER_NAMESPACE, Isolation.SUBREAPER)),
        ("namespace", (Isolation.NAMESPACE, Isolation.USER_NAMESPACE)),
        ("subreaper", (Isolation.SUBREAPER,)),
    ],
)
def test_what_is_tried_for_each_wish(wanted: str, tried: tuple[Isolation, ...]) -> None:
    assert candidates(wanted) == tried


def test_an_unknown_wish_is_refused() -> None:
    with pytest.raises(InvalidInput, match="JOBSCHED_ISOLATION"):
        candidates("jail")


def _perform_as_nobody(work: Assignment, folder: Path, isolation: str, answer: Any) -> None:
    registry.preload()
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    # As it is for a process that was started as this user, and not made so on the way.
    libc.set_dumpable(True)
    os.environ["JOBSCHED_ISOLATION"] = isolation
    with Slot(workspace_dir=folder) as slot:
        report = slot.perform(work, ScriptedWatch(), deadline=lease_clock() + LEASE_SECONDS)
        answer.send((report, slot.shim.isolation if slot.shim else None))


def perform_as_nobody(work: Assignment, folder: Path, isolation: str) -> tuple[Report, Isolation]:
    if os.geteuid() != 0:
        needs("root", "only root can become somebody without rights")
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()
    process = fork.Process(target=_perform_as_nobody, args=(work, folder, isolation, theirs))
    process.start()
    theirs.close()
    try:
        found: tuple[Report, Isolation] = ours.recv()
        return found
    finally:
        process.join()


@pytest.mark.parametrize("isolation", ["namespace", "subreaper"])
def test_without_rights_nothing_is_left_running_either(isolation: str, folder: Path) -> None:
    unique = marker()
    report, used = perform_as_nobody(shell(f"setsid sleep {unique} & id -u"), folder, isolation)
    assert used is (Isolation.SUBREAPER if isolation == "subreaper" else Isolation.USER_NAMESPACE)
    assert report.outcome.verdict is Verdict.SUCCEEDED
    assert report.output.decode().split() == [str(NOBODY)]
    assert not alive(unique)


@pytest.mark.parametrize("isolation", ["namespace", "subreaper"])
def test_a_run_cannot_read_the_environment_of_its_worker(isolation: str, folder: Path) -> None:
    initial = Path("/proc/self/environ").read_bytes().decode(errors="replace").split("\0")
    names = {entry.partition("=")[0] for entry in initial if entry}
    work = shell("cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | cut -d= -f1 | sort -u")
    passed = set(environment(work, dict.fromkeys(names, "")))
    secret = names - passed - {"PWD", "OLDPWD", "SHLVL", "_"}  # which shells set by themselves
    assert secret, "this test needs a variable of its own process that runs are not given"
    report, _ = perform_as_nobody(work, folder, isolation)
    seen = set(report.output.decode().split("\n"))
    assert "JOBSCHED_RUN_ID" in seen, "the run could not even read its own"
    assert not seen & secret


def test_a_namespace_shows_a_run_its_own_processes_only(folder: Path) -> None:
    report, _ = perform_as_nobody(shell("echo /proc/[0-9]*"), folder, "namespace")
    assert len(report.output.split()) < 10


def test_a_callable_works_without_rights(folder: Path) -> None:
    report, _ = perform_as_nobody(call("greet"), folder, "namespace")
    assert report.outcome.result == {"greeting": "hello world"}
