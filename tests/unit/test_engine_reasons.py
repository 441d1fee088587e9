"""The sentences that say how an attempt ended."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jobsched.domain.outcomes import Assignment, Outcome, Verdict
from jobsched.engine import reasons


@pytest.mark.parametrize(
    ("status", "counts", "verdict", "reason", "exit_code"),
    [
        (0, True, Verdict.SUCCEEDED, "", 0),
        (0, False, Verdict.FAILED, "ended without a result (exit code 0)", 0),
        (2 << 8, True, Verdict.FAILED, "exit code 2", 2),
        (9, True, Verdict.FAILED, "killed by signal 9 (SIGKILL)", 137),
        (40, False, Verdict.FAILED, "killed by signal 40", 168),
    ],
)
def test_a_process_that_told_no_outcome_is_judged_by_its_exit(
    status: int, counts: bool, verdict: Verdict, reason: str, exit_code: int | None
) -> None:
    outcome = reasons.from_wait_status(status, exit_code_counts=counts)
    assert (outcome.verdict, outcome.reason, outcome.exit_code) == (verdict, reason, exit_code)


DONE = Outcome(verdict=Verdict.SUCCEEDED, exit_code=0)


@pytest.mark.parametrize(
    ("killed", "names", "sentence"),
    [
        (1, ["sleep"], "1 process was still running when the work ended, and killed: sleep"),
        (3, ["a", "b", "a"], "3 processes were still running when the work ended, and killed: a (2 times), b"),
        (2, [], "2 processes were still running when the work ended, and killed"),
        (
            12,
            list("abcdefghijkl"),
            "12 processes were still running when the work ended, and killed: a, b, c, d, e, f, g, h, i, j, others",
        ),
    ],
)
def test_the_warning_says_how_many_processes_were_killed_and_which(
    killed: int, names: list[str], sentence: str
) -> None:
    warned = reasons.left_running(DONE, killed=killed, names=names, rule="warn")
    assert warned == replace(DONE, warning=sentence)


def test_nothing_was_left_running() -> None:
    assert reasons.left_running(DONE, killed=0, names=[], rule="fail") == DONE


KILLED = Outcome(verdict=Verdict.FAILED, reason="killed by signal 9 (SIGKILL)", exit_code=137, signal=9)


def test_a_kill_while_the_kernel_killed_for_memory_is_taken_for_that() -> None:
    outcome = reasons.out_of_memory(KILLED, 2)
    assert (outcome.error, outcome.exit_code, outcome.signal) == ("OOMKilled", 137, 9)
    assert outcome.reason == (
        "killed by signal 9 (SIGKILL); out of memory: the kernel killed 2 processes of this worker meanwhile"
    )


@pytest.mark.parametrize(
    ("outcome", "kills"),
    [
        (KILLED, 0),
        (replace(KILLED, exit_code=143, signal=15), 1),
        (replace(KILLED, exit_code=1, signal=None), 1),
        (replace(KILLED, verdict=Verdict.TIMED_OUT), 1),
    ],
)
def test_other_ends_are_not_taken_for_a_kill_for_memory(outcome: Outcome, kills: int) -> None:
    assert reasons.out_of_memory(outcome, kills) == outcome


def test_the_sentence_names_limit_and_grace() -> None:
    work = Assignment(run_id=1, attempt=1, project="default", job="Job", kind="shell", spec={}, timeout_seconds=5.0)
    why = reasons.why_ending(Verdict.TIMED_OUT, work)
    assert reasons.how_ended(why, killed_after_seconds=None) == ("ran longer than its limit of 5 s; ended by SIGTERM")
    assert reasons.how_ended(why, killed_after_seconds=10.0) == (
        "ran longer than its limit of 5 s; killed after 10 s of grace"
    )
    short_of_time = replace(work, deadline_seconds=3.0)
    assert reasons.why_ending(Verdict.TIMED_OUT, short_of_time) == "the deadline of the whole run passed"
    assert reasons.why_ending(Verdict.TIMED_OUT, replace(work, deadline_seconds=7.0)) == why
