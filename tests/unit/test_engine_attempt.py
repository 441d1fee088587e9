"""Supervision of one attempt: heartbeats, limits, cancel, lost leases and output."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobsched import callables
from jobsched.allowed_modules import AllowedModules
from jobsched.domain.errors import Unavailable
from jobsched.domain.outcomes import Report, Verdict
from jobsched.engine import Pulse, Slot, attempt
from jobsched.shim.lease import lease_clock
from tests.engine_kit import LEASE_SECONDS, ScriptedWatch, alive, call, marker, shell, with_longer_times


@pytest.fixture
def slot(tmp_path: Path) -> Iterator[Slot]:
    with Slot(workspace_dir=tmp_path / "workspaces") as made:
        yield made


def deadline() -> float:
    return lease_clock() + LEASE_SECONDS


def test_work_that_no_process_could_be_started_for_has_not_begun(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine is full; another may not be."""
    fork, forks = os.fork, iter([0, 0])

    def refuse_the_third() -> int:  # after the guard and the shim comes the work's own process
        if next(forks, None) is None:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return fork()

    with monkeypatch.context() as full:
        full.setattr(os, "fork", refuse_the_third)
        with pytest.raises(Unavailable, match="no process could be started for the run: Resource temporarily"):
            slot.perform(shell("true"), ScriptedWatch(), deadline=deadline())
    assert slot.perform(shell("true"), ScriptedWatch(), deadline=deadline()).outcome.verdict is Verdict.SUCCEEDED


def test_work_that_no_descriptor_is_left_for_has_not_begun(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> tuple[int, int]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    slot.warm()
    with monkeypatch.context() as full:
        full.setattr(os, "pipe", refuse)
        with pytest.raises(Unavailable, match="no process could be started for the run: Too many open files"):
            slot.perform(shell("true"), ScriptedWatch(), deadline=deadline())
    assert slot.perform(shell("true"), ScriptedWatch(), deadline=deadline()).outcome.verdict is Verdict.SUCCEEDED


def test_a_lost_lease_kills_the_work_at_once(slot: Slot) -> None:
    unique = marker()
    report = slot.perform(
        shell(f"trap '' TERM; sleep {unique}"), ScriptedWatch(answer={"lost": True}), deadline=deadline()
    )
    assert report.outcome.verdict is Verdict.LOST
    assert "no longer holds the lease" in report.outcome.reason
    assert not alive(unique)


def test_work_goes_on_while_the_database_is_away_and_is_killed_at_the_deadline(slot: Slot) -> None:
    unique = marker()
    watch = ScriptedWatch(unavailable=True)
    report = slot.perform(shell(f"sleep {unique}"), watch, deadline=lease_clock() + 4.0)
    assert report.outcome.verdict is Verdict.LOST
    assert "could not renew its lease" in report.outcome.reason
    assert watch.beats >= 2, "the heartbeat was not tried again"
    assert not alive(unique)


def test_a_renewed_lease_keeps_work_alive_past_its_first_deadline(slot: Slot) -> None:
    def perform(factor: float) -> Report:
        work = shell(f"sleep {2 * factor}; echo done")
        return slot.perform(work, ScriptedWatch(), deadline=lease_clock() + 1.5 * factor)

    report = with_longer_times(perform)
    assert report.outcome.verdict is Verdict.SUCCEEDED
    assert report.output == b"done\n"


def test_a_lease_that_has_run_for_long_before_the_work_begins_is_renewed_in_time(slot: Slot) -> None:
    """The machine was busy between the claim and the start: the next heartbeat would come too late."""

    def perform(factor: float) -> Report:
        watches.append(ScriptedWatch(heartbeat_seconds=10.0 * factor, lease_seconds=60.0 * factor))
        return slot.perform(shell(f"sleep {3 * factor}"), watches[-1], deadline=lease_clock() + 2.0 * factor)

    watches: list[ScriptedWatch] = []
    report = with_longer_times(perform)
    assert report.outcome.verdict is Verdict.SUCCEEDED
    assert watches[-1].beats == 1


def test_a_lease_that_is_found_half_over_is_looked_at_again_in_time(slot: Slot) -> None:
    """Another slot renewed it, some time ago."""

    def perform(factor: float) -> Report:
        watches.append(ScriptedWatch(heartbeat_seconds=10.0 * factor, lease_seconds=1.5 * factor))
        return slot.perform(shell(f"sleep {5 * factor}"), watches[-1], deadline=lease_clock() + 2.0 * factor)

    watches: list[ScriptedWatch] = []
    report = with_longer_times(perform)
    assert report.outcome.verdict is Verdict.SUCCEEDED
    assert watches[-1].beats >= 3


def test_the_next_heartbeat_is_counted_from_when_the_present_renewal_was_sent(slot: Slot) -> None:
    """A renewal by another slot is older than the answer; the pause between two renewals must not become longer."""
    watch = ScriptedWatch(heartbeat_seconds=12.0)
    sent = lease_clock() - 10.0  # of a lease of 60 s
    report = slot.perform(shell("sleep 4; echo done"), watch, deadline=sent + watch.lease_seconds)
    assert report.outcome.verdict is Verdict.SUCCEEDED
    assert watch.beats >= 1


def test_a_failed_heartbeat_is_tried_again_at_once(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server may have been started again: only the old connection is of no use then."""

    class FailsOnce(ScriptedWatch):
        def heartbeat(self) -> Pulse:
            self.unavailable = self.beats == 0
            return super().heartbeat()

    monkeypatch.setattr(attempt, "_RETRY_SECONDS", 3600.0)
    watch = FailsOnce(heartbeat_seconds=18_000.0, answer={"cancel_requested": True})
    report = slot.perform(shell("sleep 60"), watch, deadline=lease_clock() + 25.0)
    assert report.outcome.verdict is Verdict.CANCELLED


def test_a_cancel_that_the_heartbeat_reports_ends_the_work(slot: Slot) -> None:
    report = slot.perform(shell("sleep 60"), ScriptedWatch(answer={"cancel_requested": True}), deadline=deadline())
    assert report.outcome.verdict is Verdict.CANCELLED
    assert report.outcome.reason == "cancelled on request; ended by SIGTERM"


@pytest.mark.parametrize("unavailable", [False, True], ids=["database there", "database away"])
def test_a_worker_that_stops_ends_the_work(slot: Slot, unavailable: bool) -> None:
    watch = ScriptedWatch(worker_stops=True, unavailable=unavailable)
    report = slot.perform(shell("sleep 60"), watch, deadline=lease_clock() + 50.0)
    assert report.outcome.verdict is Verdict.HANDED_BACK
    assert report.outcome.reason == "its worker is stopping; ended by SIGTERM"


def test_a_nudge_asks_the_watch_without_waiting_for_the_next_heartbeat(slot: Slot) -> None:
    watch = ScriptedWatch(heartbeat_seconds=3600, nudge=True, answer={"cancel_requested": True})
    report = slot.perform(shell("sleep 60"), watch, deadline=deadline())
    assert report.outcome.verdict is Verdict.CANCELLED


def test_an_exit_code_of_zero_after_the_limit_is_still_timed_out(slot: Slot) -> None:
    command = "trap 'exit 0' TERM; while :; do sleep 0.05; done"
    report = slot.perform(shell(command, timeout_seconds=3.0), ScriptedWatch(), deadline=deadline())
    assert report.outcome.verdict is Verdict.TIMED_OUT
    assert report.outcome.reason == "ran longer than its limit of 3 s; ended by SIGTERM"


def test_work_that_ignores_the_signal_is_killed_after_its_grace(slot: Slot) -> None:
    command = "trap '' TERM; while :; do sleep 0.05; done"
    report = slot.perform(shell(command, timeout_seconds=3.0, grace_seconds=0.3), ScriptedWatch(), deadline=deadline())
    assert report.outcome.verdict is Verdict.TIMED_OUT
    assert report.outcome.reason == "ran longer than its limit of 3 s; killed after 0.3 s of grace"
    assert report.killed >= 1


@pytest.mark.parametrize(
    ("watch", "timeout_seconds", "error"),
    [
        (ScriptedWatch(), 3.0, "TimeLimitExceeded"),
        (ScriptedWatch(heartbeat_seconds=3.0, answer={"cancel_requested": True}), None, "CancelRequested"),
    ],
)
def test_a_callable_is_told_by_an_exception_why_it_ends(
    slot: Slot, watch: ScriptedWatch, timeout_seconds: float | None, error: str
) -> None:
    report = slot.perform(
        call("tidy_up_when_asked_to_end", timeout_seconds=timeout_seconds), watch, deadline=deadline()
    )
    assert f"tidied after {error}" in report.output.decode()
    assert report.outcome.error is not None and report.outcome.error.endswith(error)


def test_output_is_offered_while_the_run_goes_on_and_each_byte_once(slot: Slot) -> None:
    watch = ScriptedWatch()
    report = slot.perform(shell("echo one; sleep 1; echo two; sleep 1; echo three"), watch, deadline=deadline())
    assert watch.kept.startswith(b"one\n")
    assert report.output == b"one\ntwo\nthree\n"
    assert watch.all_kept(report) == report.output


def test_a_flood_is_bounded_and_does_not_starve_heartbeats(slot: Slot) -> None:
    size = 300_000_000
    watch = ScriptedWatch(heartbeat_seconds=0.01, output_limit=2_000_000)
    report = slot.perform(shell(f"head -c {size} /dev/zero | tr '\\0' x"), watch, deadline=deadline())
    assert report.outcome.verdict is Verdict.SUCCEEDED
    assert report.output_total == size
    assert len(report.output) < 1_000_000
    assert b" bytes left out" in report.output
    kept = watch.all_kept(report)
    assert len(kept) == size
    assert 1_900_000 < len(kept) - kept.count(b"\0") <= 2_000_000
    assert watch.beats > 1


def test_output_waits_while_it_cannot_be_passed_on_and_none_is_lost(slot: Slot) -> None:
    watch = ScriptedWatch(unavailable=True)
    watch.answers_after = 10
    lines = 300_000
    report = slot.perform(shell(f"seq {lines}"), watch, deadline=deadline())
    assert report.outcome.verdict is Verdict.SUCCEEDED
    assert watch.beats >= 10
    assert watch.all_kept(report) == "".join(f"{number}\n" for number in range(1, lines + 1)).encode()


def test_output_after_the_outcome_of_a_flooding_run_that_is_cancelled_ends(slot: Slot) -> None:
    watch = ScriptedWatch(heartbeat_seconds=0.3, answer={"cancel_requested": True})
    report = slot.perform(shell("yes"), watch, deadline=deadline())
    assert report.outcome.verdict is Verdict.CANCELLED


def test_a_watch_that_fails_ends_the_work_and_the_next_run_works(slot: Slot) -> None:
    class Broken(ScriptedWatch):
        def heartbeat(self) -> None:  # type: ignore[override]
            raise RuntimeError("a defect in the caller")

    unique = marker()
    with pytest.raises(RuntimeError):
        slot.perform(shell(f"sleep {unique}"), Broken(), deadline=deadline())
    assert not alive(unique)
    assert slot.perform(shell("true"), ScriptedWatch(), deadline=deadline()).outcome.exit_code == 0


def test_garbage_in_the_conversation_is_a_failure_and_not_a_crash(
    slot: Slot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callables, "_policy", callables._Policy())
    callables.allow(lambda: AllowedModules(names=("garble",)))
    script = tmp_path / "garble.py"
    script.write_text(
        "import os\n"
        "def garble():\n"
        "    for number in os.listdir('/proc/self/fd'):\n"
        "        try:\n"
        "            int(number) > 2 and os.write(int(number), b'not json\\n')\n"
        "        except OSError:\n"
        "            pass\n"
        "    import time; time.sleep(60)\n"
    )
    import sys

    sys.path.insert(0, str(tmp_path))
    try:
        work = call("wait")
        work.spec["call"] = "garble:garble"
        report = slot.perform(work, ScriptedWatch(), deadline=deadline())
    finally:
        sys.path.remove(str(tmp_path))
    assert report.outcome.verdict is Verdict.FAILED
    assert "unreadable" in report.outcome.reason


def test_a_variable_that_leads_trusted_code_elsewhere_fails_the_run_before_the_code(slot: Slot) -> None:
    outcome = slot.perform(call("greet", env={"PGHOSTADDR": "192.0.2.1"}), ScriptedWatch(), deadline=deadline()).outcome
    assert (outcome.verdict, outcome.error, outcome.no_retry) == (Verdict.FAILED, "InvalidInput", True)
    assert "cannot set 'PGHOSTADDR'" in outcome.reason
    assert slot.perform(call("greet", env={"OWN": "1"}), ScriptedWatch(), deadline=deadline()).outcome.result


def test_parameters_larger_than_any_buffer_arrive(slot: Slot) -> None:
    report = slot.perform(call("greet", params={"name": "x" * 400_000}), ScriptedWatch(), deadline=deadline())
    assert report.outcome.result == {"greeting": "hello " + "x" * 400_000}


def test_parameters_that_are_nested_too_deep_are_a_failure_and_the_next_run_works(slot: Slot) -> None:
    nested: list[Any] = []
    for _ in range(50_000):
        nested = [nested]
    outcome = slot.perform(call("greet", params={"name": nested}), ScriptedWatch(), deadline=deadline()).outcome
    assert (outcome.verdict, outcome.no_retry) == (Verdict.FAILED, True)
    assert "nested" in outcome.reason
    assert slot.perform(shell("true"), ScriptedWatch(), deadline=deadline()).outcome.verdict is Verdict.SUCCEEDED


def test_an_unknown_kind_is_a_failure_that_names_the_known_ones(slot: Slot) -> None:
    work = shell("true")
    object.__setattr__(work, "kind", "quantum")
    outcome = slot.perform(work, ScriptedWatch(), deadline=deadline()).outcome
    assert outcome.verdict is Verdict.FAILED
    assert "'quantum'" in outcome.reason and "shell" in outcome.reason


def test_workspaces_are_removed_even_if_the_work_locks_them(slot: Slot, tmp_path: Path) -> None:
    slot.perform(
        shell("mkdir -p a/b; touch a/b/c; chmod 000 a/b a; ln -s /etc link"), ScriptedWatch(), deadline=deadline()
    )
    assert not list((tmp_path / "workspaces").glob("slot-*/run-*"))
    assert Path("/etc").is_dir()


def test_work_that_no_process_could_even_be_prepared_for_has_not_begun(
    slot: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    with monkeypatch.context() as full:
        full.setattr(os, "fork", refuse)
        for attempt in (slot.warm, lambda: slot.perform(shell("true"), ScriptedWatch(), deadline=deadline())):
            with pytest.raises(Unavailable, match="no process can be started for runs here: Resource temporarily"):
                attempt()
    assert slot.perform(shell("true"), ScriptedWatch(), deadline=deadline()).outcome.verdict is Verdict.SUCCEEDED
