"""The guard ends a run when neither its slot nor its shim can, and is not ended by what ends other processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobsched.engine import Slot
from jobsched.shim.lease import lease_clock
from tests.engine_kit import LEASE_SECONDS, ScriptedWatch, alive, marker, shell
from tests.processes import wait_for

_fork = multiprocessing.get_context("fork")


@dataclass(frozen=True, kw_only=True)
class Processes:
    """A slot with a run, and what is between both."""

    slot: int
    guard: int
    shim: int
    unique: str

    def send(self, number: signal.Signals, *pids: int) -> None:
        for pid in pids:
            os.kill(pid, number)

    def survive(self, number: signal.Signals, *pids: int) -> None:
        """Send a signal, and fail unless each process is there after it was delivered: a stop that follows stops it."""
        self.send(number, *pids)
        self.send(signal.SIGSTOP, *pids)
        wait_for(lambda: all(_state(pid) in "TZ" for pid in pids), what=f"the effect of {number.name}")
        assert [_state(pid) for pid in pids] == ["T"] * len(pids), f"ended by {number.name}"
        self.send(signal.SIGCONT, *pids)

    def run_is_alive(self) -> bool:
        return bool(alive(self.unique))

    def wait_for_the_end_of_the_run(self) -> None:
        wait_for(lambda: not self.run_is_alive(), what="the end of the run")


def _state(pid: int) -> str:
    """Return the state of a process as /proc shows it: T when it is stopped, Z when it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"


Start = Callable[..., Processes]


def _be_slot(folder: Path, unique: str, lease_seconds: float, answer: Any) -> None:
    with Slot(workspace_dir=folder) as slot:
        shim = slot.warm()
        answer.send((shim.guard, shim.pid))
        watch = ScriptedWatch(heartbeat_seconds=0.1, lease_seconds=lease_seconds)
        # Two processes, one of which ignores what a dying session would send.
        work = shell(f"touch file; (trap '' TERM HUP; setsid sleep {unique}) & sleep {unique}")
        # The first lease leaves room for a slow start; the first heartbeat replaces it.
        slot.perform(work, watch, deadline=lease_clock() + max(lease_seconds, 20.0))


@pytest.fixture(params=["namespace", "subreaper"])
def start(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Start]:
    """Start a slot with a run that goes on until it is killed."""
    monkeypatch.setenv("JOBSCHED_ISOLATION", request.param)
    started: list[Processes] = []

    def call(*, lease_seconds: float = LEASE_SECONDS) -> Processes:
        unique = marker()
        ours, theirs = _fork.Pipe()
        process = _fork.Process(target=_be_slot, args=(tmp_path, unique, lease_seconds, theirs))
        process.start()
        assert process.pid is not None
        guard, shim = ours.recv()
        started.append(Processes(slot=process.pid, guard=guard, shim=shim, unique=unique))
        wait_for(lambda: len(alive(unique)) >= 2, what="the run starts")
        return started[-1]

    yield call
    for processes in started:
        for pid in (processes.slot, processes.guard, processes.shim, *alive(processes.unique)):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def test_a_run_ends_with_its_slot_while_its_shim_is_stopped(start: Start, tmp_path: Path) -> None:
    processes = start()
    processes.send(signal.SIGSTOP, processes.shim)
    processes.send(signal.SIGKILL, processes.slot)
    processes.wait_for_the_end_of_the_run()
    wait_for(lambda: not list(tmp_path.glob("slot-*")), what="the folder of the slot goes")


def test_a_run_ends_with_its_lease_while_slot_and_shim_are_stopped(start: Start) -> None:
    processes = start(lease_seconds=3.0)
    processes.send(signal.SIGSTOP, processes.slot, processes.shim)
    processes.wait_for_the_end_of_the_run()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_guard_goes_on_when_a_service_manager_ends_all_processes(start: Start, number: signal.Signals) -> None:
    processes = start()
    processes.survive(number, processes.guard)
    processes.send(signal.SIGSTOP, processes.shim)
    processes.send(signal.SIGKILL, processes.slot)
    processes.wait_for_the_end_of_the_run()


def test_a_stop_that_reaches_all_processes_does_not_end_a_run(start: Start) -> None:
    """The slot decides what a stop means for its run: it may end within its grace, or be handed back."""
    processes = start()
    processes.survive(signal.SIGTERM, processes.guard, processes.shim)
    assert os.waitid(os.P_PID, processes.slot, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    assert processes.run_is_alive()
    processes.send(signal.SIGKILL, processes.slot)
    processes.wait_for_the_end_of_the_run()


def test_a_run_ends_when_its_guard_is_killed(start: Start) -> None:
    processes = start()
    processes.send(signal.SIGKILL, processes.guard)
    processes.wait_for_the_end_of_the_run()
