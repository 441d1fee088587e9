"""Who was alive when a run was ended, and how each of them ended: what a cancel can show for itself."""

from __future__ import annotations

from jobsched.domain.outcomes import Ended, Verdict
from jobsched.engine import Slot
from jobsched.shim.lease import lease_clock
from tests.engine_kit import LEASE_SECONDS, ScriptedWatch, alive, marker, shell

KILLED, TERMINATED = "signal 9 (SIGKILL)", "signal 15 (SIGTERM)"


def cancelled_once_it_printed(slot: Slot, command: str, **details: float) -> tuple[Verdict, tuple[Ended, ...], int]:
    watch = ScriptedWatch()
    watch.on_flush = lambda _: watch.answer.update(cancel_requested=True)
    report = slot.perform(shell(command, **details), watch, deadline=lease_clock() + LEASE_SECONDS)
    return report.outcome.verdict, report.processes, report.killed


def test_the_report_says_which_processes_ended_on_request_and_which_were_killed(slot: Slot) -> None:
    unique = marker()
    verdict, processes, killed = cancelled_once_it_printed(
        slot,
        # It waits until the stubborn one has taken its signals off the hook.
        f"sleep {unique} & (trap '' TERM; echo ready; exec sleep {unique}) & wait",
        grace_seconds=0.5,
    )
    assert verdict is Verdict.CANCELLED
    ends = sorted((process.name, process.ended) for process in processes)
    assert ("sleep", KILLED) in ends and killed >= 1
    # The other one: its parent may have been there to take note of its end, or not any more.
    others = [ended for name, ended in ends if (name, ended) != ("sleep", KILLED)]
    assert others and set(others) <= {TERMINATED, f"ended after {TERMINATED}"}
    assert not alive(unique)


def test_what_a_run_leaves_behind_is_told_as_well(slot: Slot) -> None:
    unique = marker()
    report = slot.perform(
        shell(f"setsid sleep {unique} & echo started"), ScriptedWatch(), deadline=lease_clock() + LEASE_SECONDS
    )
    assert report.outcome.verdict is Verdict.SUCCEEDED
    assert [process.ended for process in report.processes] == [KILLED] and report.killed == 1
    assert not alive(unique)


def test_a_run_that_ends_by_itself_leaves_no_receipt(slot: Slot) -> None:
    report = slot.perform(shell("true"), ScriptedWatch(), deadline=lease_clock() + LEASE_SECONDS)
    assert report.processes == ()


def test_a_crowd_is_told_in_part(slot: Slot) -> None:
    unique = marker()
    _, processes, killed = cancelled_once_it_printed(
        slot,
        f"trap '' TERM; i=0; while [ $i -lt 150 ]; do sleep {unique} & i=$((i+1)); done; echo all; wait",
        grace_seconds=0.2,
    )
    assert len(processes) == 100 and killed > 100
    assert not alive(unique)
