"""The promises of examples/README.md, as the demo checks them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from jobsched.local.expectations import (
    Example,
    Finding,
    Run,
    Start,
    all_of,
    all_steps_succeeded,
    answered,
    ended,
    fired,
    no_process_named,
    overtaken,
    returned,
    took_attempts,
)

WAITING, URGENT = "routine", "urgent"

EXAMPLES: Final = (
    Example(
        job="ci-iniconfig",
        promise="a package's own tests pass, every step of it",
        check=all_of(ended("succeeded"), all_steps_succeeded(count=5)),
    ),
    Example(
        job="every-two-seconds",
        promise="an interval fires again and again",
        start=Start.SCHEDULE,
        runs_needed=2,
        check=all_of(ended("succeeded"), fired(2)),
    ),
    Example(
        job="every-minute",
        promise="a crontab fires at a full minute",
        start=Start.SCHEDULE,
        earlier_counts=True,
        check=all_of(ended("succeeded"), fired(1, at_second=0)),
    ),
    Example(
        job="health-check",
        promise="the stack's own /healthz answers 200",
        wants_port=True,
        check=all_of(ended("succeeded"), answered(200)),
    ),
    Example(
        job="word-count",
        promise="a Python function's result is kept",
        check=all_of(ended("succeeded"), returned({"words": 9, "different": 8, "most_frequent": "the"})),
    ),
    Example(
        job="third-time-lucky",
        promise="two attempts fail, the third succeeds",
        check=all_of(ended("succeeded"), took_attempts(3, failed_before=True)),
    ),
    Example(
        job="overrun",
        promise="ended at its limit, no process left",
        check=all_of(ended("timed_out"), no_process_named("jobsched-example-overrun")),
    ),
    Example(job=WAITING, promise="twenty runs wait in a queue", requests=20, runs_needed=20, check=ended("succeeded")),
    Example(job=URGENT, promise="asked for last, goes before them", check=ended("succeeded")),
)
"""In the order in which the demo asks for them: the slowest first, the urgent one behind those that wait."""


def judge(runs: dict[str, Sequence[Run]]) -> dict[str, Finding]:
    """Check every example by its runs. Return what is wrong with each, None where nothing is."""
    findings = {example.job: example.check(runs[example.job]) for example in EXAMPLES}
    if findings[URGENT] is None:
        findings[URGENT] = overtaken(runs[URGENT][0], runs[WAITING])
    return findings
