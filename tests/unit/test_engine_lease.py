"""Work whose lease has ended does not start, wherever its processes were frozen between the claim and the start."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from jobsched.domain.outcomes import Assignment, Report, Verdict
from jobsched.engine import Slot
from jobsched.engine.reasons import NOT_STARTED_IN_TIME
from jobsched.executor import Context
from jobsched.shim.lease import Lease, LeaseEnded, lease_clock
from tests.engine_kit import ScriptedWatch, assignment, call, shell, with_longer_times
from tests.processes import wait_for


def works(mark: Path) -> dict[str, Assignment]:
    """Return one run of each kind, which makes a file when it starts."""
    return {
        "shell": shell(f"touch {mark}"),
        "steps": assignment("steps", {"steps": [{"name": "one", "run": f"touch {mark}"}]}),
        "python": call("touch", params={"path": str(mark)}),
    }


@pytest.mark.parametrize("kind", ["shell", "steps", "python"])
def test_the_shim_starts_nothing_for_a_lease_that_has_ended(slot: Slot, tmp_path: Path, kind: str) -> None:
    """The slot was frozen between its claim and its request."""
    mark = tmp_path / "started"
    report = slot.perform(works(mark)[kind], ScriptedWatch(), deadline=lease_clock() - 0.001)
    assert (report.outcome.verdict, report.outcome.reason) == (Verdict.HANDED_BACK, NOT_STARTED_IN_TIME)
    assert not mark.exists()
    assert not list(tmp_path.glob("workspaces/slot-*/run-*"))
    later = slot.perform(works(mark)[kind], ScriptedWatch(), deadline=lease_clock() + 60)
    assert later.outcome.verdict is Verdict.SUCCEEDED
    assert mark.exists()


def test_a_slot_that_is_frozen_before_its_request_starts_nothing_when_it_goes_on(
    slot: Slot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shim is asked only once the freeze is over."""
    mark = tmp_path / "started"
    deadline = lease_clock() + 0.3
    make = slot._workspaces.make

    def freeze(work: Assignment) -> Path:
        wait_for(lambda: lease_clock() > deadline, what="the end of the lease")
        return make(work)

    monkeypatch.setattr(slot._workspaces, "make", freeze)
    report = slot.perform(works(mark)["shell"], ScriptedWatch(), deadline=deadline)
    assert report.outcome.verdict is Verdict.HANDED_BACK
    assert not mark.exists()


@pytest.mark.parametrize("kind", ["shell", "steps", "python"])
@pytest.mark.parametrize("isolation", ["subreaper"], indirect=True)
def test_a_process_that_is_frozen_after_its_fork_starts_nothing_when_it_goes_on(
    slot: Slot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The shim is frozen as well, so that it cannot kill the process at the deadline."""
    mark = tmp_path / "started"
    deadline = lease_clock() + 2.0
    start_work = Context.start_work

    def freeze(context: Context) -> None:
        os.kill(os.getppid(), signal.SIGSTOP)
        wait_for(lambda: lease_clock() > deadline, what="the end of the lease")
        start_work(context)

    monkeypatch.setattr(Context, "start_work", freeze)  # before the shim, whose forks inherit it
    shim = slot.warm()
    over = threading.Event()

    def thaw() -> None:
        over.wait(3.0)
        with suppress(ProcessLookupError):  # its guard has killed it: the lease is over
            os.kill(shim.pid, signal.SIGCONT)

    thawing = threading.Thread(target=thaw)
    thawing.start()
    try:
        watch = ScriptedWatch(heartbeat_seconds=60.0, unavailable=True)
        report = slot.perform(works(mark)[kind], watch, deadline=deadline)
    finally:
        over.set()
        thawing.join()
    assert report.outcome.verdict is Verdict.HANDED_BACK
    assert not mark.exists()


def test_a_step_does_not_start_once_the_lease_has_ended(tmp_path: Path) -> None:
    lease = Lease()
    context = Context(work=shell("true"), control=None, lease=lease)  # type: ignore[arg-type]
    lease.end_at(lease_clock() + 60)
    context.start_work()
    lease.end_at(lease_clock())
    with pytest.raises(LeaseEnded):
        context.start_work()


def test_a_run_process_sees_a_renewal(slot: Slot) -> None:
    """Its first lease is over when the second step starts; without the renewal the step would not start."""

    def perform(factor: float) -> Report:
        steps = [{"name": "one", "run": f"sleep {1.5 * factor}"}, {"name": "two", "run": "echo done"}]
        return slot.perform(assignment("steps", {"steps": steps}), ScriptedWatch(), deadline=lease_clock() + factor)

    report = with_longer_times(perform)
    assert report.outcome.verdict is Verdict.SUCCEEDED
    assert report.output == b"done\n"


def test_leases_are_measured_by_a_clock_that_counts_suspend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "clock_gettime", {time.CLOCK_BOOTTIME: 42.0}.__getitem__)
    assert lease_clock() == 42.0
