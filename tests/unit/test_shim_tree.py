"""No process of a run survives it, in both kinds of isolation."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobsched.domain.outcomes import Assignment, Report, Verdict
from jobsched.engine import Slot
from jobsched.shim.lease import lease_clock
from tests.engine_kit import LEASE_SECONDS, ScriptedWatch, alive, call, marker, shell
from tests.processes import wait_for

_fork = multiprocessing.get_context("fork")


def perform(slot: Slot, work: Assignment, **watching: Any) -> Report:
    return slot.perform(work, ScriptedWatch(**watching), deadline=lease_clock() + LEASE_SECONDS)


ESCAPES = {
    "background": "sleep {0} &",
    "new session": "setsid sleep {0} &",
    "double fork": "( ( setsid sh -c 'sleep {0} & wait' & ) & ) ; sleep 0.2",
    "signals ignored": "(trap '' TERM HUP INT; setsid sleep {0}) & sleep 0.2",
    "stopped": "setsid sh -c 'kill -STOP $$; sleep {0}' {0} & sleep 0.2",
    "holds the output": "setsid nohup sleep {0} >&2 & sleep 0.2",
}


@pytest.mark.parametrize("how", ESCAPES)
def test_what_a_run_leaves_behind_is_killed_before_its_end_is_reported(slot: Slot, how: str) -> None:
    unique = marker()
    report = perform(slot, shell(ESCAPES[how].format(unique) + "\nexit 0"))
    assert report.outcome.verdict is Verdict.SUCCEEDED
    assert not alive(unique)
    assert report.killed >= 1


def test_five_hundred_children_die_with_their_run(slot: Slot) -> None:
    unique = marker()
    command = f"i=0; while [ $i -lt 500 ]; do setsid sleep {unique} & i=$((i+1)); done; echo all; wait"
    watch = ScriptedWatch()

    def cancel(_chunk: bytes) -> None:
        wait_for(lambda: len(alive(unique)) >= 500, what="500 children")
        watch.answer = {"cancel_requested": True}

    watch.on_flush = cancel
    work = shell(f"trap '' TERM; {command}", grace_seconds=0.0)
    report = slot.perform(work, watch, deadline=lease_clock() + LEASE_SECONDS)
    assert report.outcome.verdict is Verdict.CANCELLED
    assert report.killed >= 500
    assert not alive(unique)


def test_a_callable_cannot_leave_a_process_behind(slot: Slot) -> None:
    unique = marker()
    report = perform(slot, call("leave_behind", params={"marker": unique}))
    assert report.outcome.verdict is Verdict.SUCCEEDED
    assert not alive(unique)


def _in_a_slot(work: Assignment, folder: Path, lease_seconds: float, answer: Any) -> None:
    watch = ScriptedWatch(heartbeat_seconds=0.1, lease_seconds=lease_seconds)
    with Slot(workspace_dir=folder) as slot:
        answer.send(slot.perform(work, watch, deadline=lease_clock() + lease_seconds).outcome)


@pytest.fixture
def slot_process(isolation: str, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    started: list[Any] = []

    def start(work: Assignment, *, lease_seconds: float = LEASE_SECONDS) -> tuple[int, Any]:
        ours, theirs = _fork.Pipe()
        process = _fork.Process(target=_in_a_slot, args=(work, tmp_path / "workspaces", lease_seconds, theirs))
        process.start()
        started.append(process)
        assert process.pid is not None
        return process.pid, ours

    yield start
    for process in started:
        process.kill()
        process.join()


# Two shells, one of which ignores what a dying session would send.
TWO = "(trap '' TERM HUP; setsid sleep {0}) & sleep {0}"


def test_a_killed_slot_takes_its_run_with_it(slot_process: Callable[..., Any]) -> None:
    unique = marker()
    pid, _ = slot_process(shell(TWO.format(unique)))
    wait_for(lambda: len(alive(unique)) >= 2, what="the run starts")
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not alive(unique), what="the run dies with its slot")


def test_the_next_slot_clears_up_after_a_killed_one(
    slot_process: Callable[..., Any], slot: Slot, tmp_path: Path
) -> None:
    unique = marker()
    pid, _ = slot_process(shell(f"echo left > behind; sleep {unique}"))
    wait_for(lambda: alive(unique), what="the run starts")
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not alive(unique), what="the run dies")
    stale = list(tmp_path.glob("workspaces/slot-*"))
    perform(slot, shell("true"))
    wait_for(lambda: not any(folder.exists() for folder in stale), what="the folder goes")
    perform(slot, shell("touch here"))


def test_a_frozen_slot_loses_its_run_at_the_deadline(slot_process: Callable[..., Any]) -> None:
    unique = marker()
    pid, answer = slot_process(shell(TWO.format(unique)), lease_seconds=5.0)
    wait_for(lambda: len(alive(unique)) >= 2, what="the run starts")
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: not alive(unique), what="the run dies when its lease is over")
    os.kill(pid, signal.SIGCONT)
    assert answer.poll(30)
    assert answer.recv().verdict is Verdict.LOST


def test_a_killed_shim_is_noticed_and_replaced(slot: Slot) -> None:
    unique = marker()
    shims: list[int] = []

    def kill_shim(_chunk: bytes) -> None:
        assert slot.shim is not None
        shims.append(slot.shim.pid)
        os.kill(slot.shim.pid, signal.SIGKILL)

    report = perform(slot, shell(f"{TWO.format(unique)} & echo on; sleep {unique}"), on_flush=kill_shim)
    assert shims
    assert report.outcome.verdict is Verdict.LOST
    assert "was killed" in report.outcome.reason
    assert report.output == b"on\n"
    assert not alive(unique)
    assert perform(slot, shell("echo again")).output == b"again\n"
    assert slot.shim is not None and slot.shim.pid not in shims


def test_a_shim_that_died_between_runs_costs_nothing(slot: Slot) -> None:
    perform(slot, shell("true"))
    assert slot.shim is not None
    first = slot.shim.pid
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: not _exists(first), what="the shim ends")
    assert perform(slot, shell("echo fine")).output == b"fine\n"


def test_closing_a_slot_leaves_neither_shim_nor_guard(slot: Slot) -> None:
    perform(slot, shell("true"))
    assert slot.shim is not None
    pids = [slot.shim.pid, slot.shim.guard]
    slot.close()
    assert not any(_exists(pid) for pid in pids)


def _exists(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
