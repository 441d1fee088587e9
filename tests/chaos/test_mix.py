"""A short mix of all experiments, and the proof that the suite would notice: with a guarantee switched off it fails."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobsched.local.rabbitmq import rabbitmq_program
from tests.acceptance.commands import processes_of
from tests.chaos.catalogue import experiments
from tests.processes import wait_for
from tests.unrun import needs

SCALE = "0.01"


def chaos(*options: str) -> subprocess.CompletedProcess[str]:
    """Run the suite in a process of its own: it starts, breaks and ends servers of its own."""
    if rabbitmq_program() is None:
        needs("rabbitmq-server", "`apt-get install rabbitmq-server` provides it")
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", "--scale", SCALE, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(done.stdout)  # with the seed
    return done


LANES = 3
"""Suites side by side, each with servers of its own: most of an experiment is waiting for something to expire."""


@pytest.mark.timeout(1200)
def test_a_short_mix_of_all_experiments_passes() -> None:
    names = [one.name for one in experiments()]
    lanes = [",".join(names[lane::LANES]) for lane in range(LANES)]
    with ThreadPoolExecutor(LANES) as side_by_side:
        done = list(side_by_side.map(lambda only: chaos("--only", only), lanes))
    assert [suite.returncode for suite in done] == [0] * LANES, "".join(suite.stdout for suite in done)


MUTANTS = {
    # what is switched off: an experiment that needs it, and a pattern of what the suite says then
    "no-fence": ("worker-freeze", "VIOLATED I[457]: run"),  # which of them depends on what the late result meets
    "no-compare-and-set": ("beats", "VIOLATED I5: run"),
    "no-confirm": ("plain-tasks", "messages that count as sent are lost"),
    "no-lease-check": ("frozen-starts", "in-process runs started after their lease had ended"),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_suite_fails_once_a_guarantee_is_gone(mutant: str) -> None:
    experiment, sentence = MUTANTS[mutant]
    done = chaos("--only", experiment, "--mutant", mutant)
    assert done.returncode == 1, done.stdout
    assert re.search(sentence, done.stdout)


@pytest.mark.timeout(180)
def test_an_interrupted_suite_ends_without_a_stack_trace_and_leaves_nothing_behind(tmp_path: Path) -> None:
    told = tmp_path / "told"
    with told.open("wb") as output:
        suite = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos", "--only", "worker-freeze", "--keep", str(tmp_path / "kept")],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_for(lambda: "[1/1]" in told.read_text(), timeout=90, what="the first experiment")
        suite.send_signal(signal.SIGINT)
        assert suite.wait(60) == 128 + signal.SIGINT
    finally:
        if suite.poll() is None:
            os.killpg(suite.pid, signal.SIGKILL)
    assert "Traceback" not in told.read_text()
    wait_for(lambda: processes_of(tmp_path) == [], what="the end of everything it had started")
