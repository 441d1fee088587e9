"""A short mix of all experiments, and the proof that the suite would notice: with a guarantee switched off it fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jobsched.local.rabbitmq import rabbitmq_program
from tests.acceptance.commands import processes_of
from tests.processes import missing, wait_for

SCALE = "0.01"


def chaos(*options: str) -> subprocess.CompletedProcess[str]:
    """Run the suite in a process of its own: it starts, breaks and ends servers of its own."""
    if rabbitmq_program() is None:
        missing("rabbitmq-server")
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", "--scale", SCALE, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(done.stdout)  # with the seed
    return done


@pytest.mark.timeout(900)
def test_a_short_mix_of_all_experiments_passes() -> None:
    done = chaos()
    assert done.returncode == 0, done.stdout


MUTANTS = {
    # what is switched off: an experiment that needs it, and what the suite says then
    "no-fence": ("worker-freeze", "VIOLATED I4: run"),
    "no-compare-and-set": ("beats", "VIOLATED I5: run"),
    "no-confirm": ("plain-tasks", "messages that count as sent are lost"),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_suite_fails_once_a_guarantee_is_gone(mutant: str) -> None:
    experiment, sentence = MUTANTS[mutant]
    done = chaos("--only", experiment, "--mutant", mutant)
    assert done.returncode == 1, done.stdout
    assert sentence in done.stdout


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
