"""The demo's checks: each is satisfied by what it asks for, and says what is wrong with anything else."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Any

import pytest

from jobsched.local.expectations import (
    Finding,
    Run,
    all_of,
    all_steps_succeeded,
    answered,
    ended,
    fired,
    no_process_named,
    overtaken,
    processes_with,
    returned,
    took_attempts,
)
from jobsched.local.progress import Progress
from jobsched.local.showcase import EXAMPLES, judge
from tests.processes import wait_for


def attempt(verdict: str = "succeeded", **more: Any) -> dict[str, Any]:
    return {"verdict": verdict, "sections": [], "http_status": None, "result": None, "output": "", **more}


def run(*attempts: dict[str, Any], state: str = "succeeded", second: str = "00", **more: Any) -> Run:
    when = f"2026-11-21T10:00:{second}Z"
    return {
        "id": 1,
        "job": "job",
        "state": state,
        "reason": "",
        "trigger": "schedule",
        "scheduled_for": when,
        "created_at": when,
        "started_at": when,
        "finished_at": when,
        "attempts": list(attempts or [attempt(started_at=when)]),
        **more,
    }


def steps(*verdicts: str | None) -> dict[str, Any]:
    return attempt(sections=[{"name": f"step {n}", "verdict": verdict} for n, verdict in enumerate(verdicts)])


@pytest.mark.parametrize(
    ("check", "good", "bad", "finding"),
    [
        (ended("succeeded"), [run()], [run(), run(state="failed")], "ended as failed"),
        (fired(2), [run(), run(second="02")], [run(), run()], "fired 1 times, not 2"),
        (fired(1), [run()], [run(trigger="api")], "fired 0 times"),
        (fired(1, at_second=0), [run()], [run(second="01")], "another second than 0"),
        (
            took_attempts(3, failed_before=True),
            [run(attempt("failed"), attempt("failed"), attempt())],
            [run(attempt("failed"), attempt())],
            "took 2 attempts, not 3",
        ),
        (
            took_attempts(2, failed_before=True),
            [run(attempt("failed"), attempt())],
            [run(attempt("lost"), attempt())],
            "went lost, succeeded",
        ),
        (
            all_steps_succeeded(count=2),
            [run(steps("succeeded", "succeeded"))],
            [run(steps("succeeded", None))],
            "did not succeed: step 1",
        ),
        (all_steps_succeeded(count=2), [run(steps("succeeded", "succeeded"))], [run(steps())], "0 steps, not 2"),
        (answered(200), [run(attempt(http_status=200))], [run(attempt(http_status=302))], "status 302, not 200"),
        (returned({"n": 1}), [run(attempt(result={"n": 1}))], [run(attempt(result={"n": 2}))], "not {'n': 1}"),
        (all_of(ended("succeeded"), answered(200)), [run(attempt(http_status=200))], [run()], "status None"),
    ],
)
def test_check(check: Any, good: Sequence[Run], bad: Sequence[Run], finding: str) -> None:
    assert check(good) is None
    assert finding in check(bad)


def test_a_process_that_is_left_is_found_by_its_command_line() -> None:
    marker = "marker-of-a-process-that-is-left"
    with subprocess.Popen(["sh", "-c", "read -r _", marker], stdin=subprocess.PIPE) as process:
        wait_for(lambda: process.pid in processes_with(marker), what="the shell in place of what was forked")
        assert f"{process.pid}" in (no_process_named(marker)([]) or "")
    assert no_process_named(marker)([]) is None


@pytest.mark.parametrize(
    ("urgent", "finding"),
    [
        (run(created_at="2026-11-21T10:00:01.5Z", started_at="2026-11-21T10:00:02Z"), None),
        (
            run(created_at="2026-11-21T10:00:01.5Z", started_at="2026-11-21T10:00:09Z"),
            "it started after all 2 runs that waited before it",
        ),
        (
            run(created_at="2026-11-21T10:00:00.5Z", started_at="2026-11-21T10:00:02Z"),
            "it was not the last to be asked for",
        ),
    ],
)
def test_an_urgent_run_overtakes_some_of_those_before_it(urgent: Run, finding: Finding) -> None:
    waiting = [
        run(created_at="2026-11-21T10:00:00Z", started_at="2026-11-21T10:00:01Z"),
        run(created_at="2026-11-21T10:00:01Z", started_at="2026-11-21T10:00:03Z"),
    ]
    assert overtaken(urgent, waiting) == finding


def test_runs_that_all_failed_satisfy_no_example(capsys: pytest.CaptureFixture[str]) -> None:
    runs = {example.job: [run(state="failed", reason="broken")] for example in EXAMPLES}
    findings = judge(runs)
    assert all(findings.values())
    Progress(EXAMPLES).report(runs, findings)
    assert capsys.readouterr().out.count("WRONG") == len(EXAMPLES)


def test_a_long_series_of_runs_is_shortened_in_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    runs: dict[str, Sequence[Run]] = {example.job: [run()] for example in EXAMPLES}
    runs["routine"] = [run(job="routine") for _ in range(20)]
    Progress(EXAMPLES).report(runs, {example.job: None for example in EXAMPLES})
    printed = capsys.readouterr().out
    assert "17 succeeded" in printed
    assert printed.count("routine ") == 3
