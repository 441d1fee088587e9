"""What commands ask for by writing to $JOBSCHED_RETRY."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jobsched.domain.outcomes import Outcome, Report, Verdict
from jobsched.domain.retry import RetryPolicy, decide
from jobsched.engine import Slot
from jobsched.shim.lease import lease_clock
from tests.engine_kit import LEASE_SECONDS, ScriptedWatch, assignment, shell


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "workspaces"


@pytest.fixture
def slot(folder: Path) -> Iterator[Slot]:
    with Slot(workspace_dir=folder) as made:
        yield made


def perform(slot: Slot, command: str) -> Report:
    return slot.perform(shell(command), ScriptedWatch(), deadline=lease_clock() + LEASE_SECONDS)


def left(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name != "lock" and not path.name.startswith("slot-")]


def test_a_command_says_when_it_is_to_be_tried_again(slot: Slot, folder: Path) -> None:
    outcome = perform(slot, 'echo 90s >"$JOBSCHED_RETRY"; exit 3').outcome
    assert (outcome.exit_code, outcome.retry_after_seconds, outcome.no_retry) == (3, 90.0, False)
    assert left(folder) == []
    assert perform(slot, "exit 3").outcome.retry_after_seconds is None


def test_a_command_names_the_moment(slot: Slot) -> None:
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2)
    outcome = perform(slot, f'echo {at.isoformat()} >"$JOBSCHED_RETRY"; exit 1').outcome
    decided = decide(RetryPolicy(max=1), outcome=outcome, tries=1, now=datetime.now(UTC), unit=0.0)
    assert decided.again
    assert decided.at is not None
    assert abs(decided.at - at) < timedelta(seconds=30)


def test_a_command_says_that_it_is_not_to_be_tried_again(slot: Slot) -> None:
    outcome = perform(slot, 'echo never >"$JOBSCHED_RETRY"; exit 1').outcome
    decided = decide(RetryPolicy(max=5), outcome=outcome, tries=1, now=datetime.now(UTC), unit=0.0)
    assert (decided.again, decided.reason) == (False, "exit code 1; no retry was asked for")


def test_the_last_line_of_the_last_step_counts(slot: Slot) -> None:
    steps = [
        {"name": "one", "run": 'echo never >>"$JOBSCHED_RETRY"'},
        {"name": "two", "run": 'printf "5m\\n\\n" >>"$JOBSCHED_RETRY"; exit 1'},
    ]
    report = slot.perform(
        assignment("steps", {"steps": steps}), ScriptedWatch(), deadline=lease_clock() + LEASE_SECONDS
    )
    assert (report.outcome.retry_after_seconds, report.outcome.no_retry) == (300.0, False)


def test_what_succeeds_asks_for_nothing(slot: Slot, folder: Path) -> None:
    outcome = perform(slot, 'echo 90s >"$JOBSCHED_RETRY"').outcome
    assert (outcome.verdict, outcome.retry_after_seconds, outcome.reason) == (Verdict.SUCCEEDED, None, "")
    assert left(folder) == []


@pytest.mark.parametrize("written", ["soon", "2026-12-01T03:00:00", "-5", "\\0377\\0376", "1" * 40, "999999999d24h"])
def test_what_makes_no_sense_is_ignored_and_reported(slot: Slot, written: str) -> None:
    outcome = perform(slot, f"printf -- '{written}' >\"$JOBSCHED_RETRY\"; exit 1").outcome
    assert (outcome.verdict, outcome.retry_after_seconds, outcome.no_retry) == (Verdict.FAILED, None, False)
    assert outcome.reason.startswith("exit code 1; what it wrote to $JOBSCHED_RETRY is ignored: ")
    assert len(outcome.reason) < 300


@pytest.mark.parametrize(
    "trick",
    [
        'mkfifo "$JOBSCHED_RETRY"',
        'ln -s /etc/hostname "$JOBSCHED_RETRY"',
        'mkdir "$JOBSCHED_RETRY"',
        ': >"$JOBSCHED_RETRY"',
        'ln -s /dev/zero "$JOBSCHED_RETRY"',
    ],
)
def test_what_is_no_plain_file_is_neither_waited_for_nor_followed(slot: Slot, folder: Path, trick: str) -> None:
    outcome = perform(slot, f"{trick}; exit 1").outcome
    assert outcome == Outcome(verdict=Verdict.FAILED, reason="exit code 1", exit_code=1)
    assert "mkdir" in trick or left(folder) == []


def test_a_flood_is_not_read_to_its_end(slot: Slot) -> None:
    outcome = perform(slot, '{ yes 7s | head -c 50000000; echo; echo 9s; } >"$JOBSCHED_RETRY"; exit 1').outcome
    assert outcome.retry_after_seconds == 9.0
