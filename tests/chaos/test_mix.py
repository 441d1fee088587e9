"""A short mix of all experiments, and the proof that the suite would notice: with a guarantee switched off it fails."""

from __future__ import annotations

import subprocess
import sys

import pytest

from jobsched.local.rabbitmq import rabbitmq_program
from tests.processes import missing

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
