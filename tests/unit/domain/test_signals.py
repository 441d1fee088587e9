"""The names of signals, and the exit codes that stand for them."""

from __future__ import annotations

import pytest

from jobsched.domain import signals
from jobsched.domain.errors import InvalidInput
from jobsched.domain.exits import from_exit
from jobsched.domain.outcomes import Outcome, Verdict
from jobsched.domain.retry import RetryPolicy


@pytest.mark.parametrize(
    ("number", "sentence", "table"),
    [(9, "signal 9 (SIGKILL)", "SIGKILL"), (15, "signal 15 (SIGTERM)", "SIGTERM"), (40, "signal 40", "signal 40")],
)
def test_a_signal_has_its_name_where_it_has_one(number: int, sentence: str, table: str) -> None:
    assert (signals.signal_name(number), signals.short_name(number)) == (sentence, table)


@pytest.mark.parametrize("text", ["9", "KILL", "kill", "SIGKILL", " SigKill "])
def test_a_signal_is_read_by_number_and_by_name(text: str) -> None:
    assert signals.parse(text) == 9


@pytest.mark.parametrize("text", ["", "0", "65", "32", "-9", "9.0", "٩", "SIG", "SIG_DFL", "HARD", "137", "9" * 5000])
def test_what_is_no_signal_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"is not a signal; write its number or its name, such as 9, KILL"):
        signals.parse(text)


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (0, Outcome(verdict=Verdict.SUCCEEDED, exit_code=0)),
        (3, Outcome(verdict=Verdict.FAILED, reason="exit code 3", exit_code=3)),
        (-9, Outcome(verdict=Verdict.FAILED, reason="killed by signal 9 (SIGKILL)", exit_code=137, signal=9)),
        (
            137,
            Outcome(
                verdict=Verdict.FAILED,
                reason="exit code 137, which from a shell means signal 9 (SIGKILL)",
                exit_code=137,
                signal=9,
            ),
        ),
        (128, Outcome(verdict=Verdict.FAILED, reason="exit code 128", exit_code=128)),
        (255, Outcome(verdict=Verdict.FAILED, reason="exit code 255", exit_code=255)),
    ],
)
def test_an_exit_of_a_shell_is_an_outcome(code: int, outcome: Outcome) -> None:
    assert from_exit(code, by_shell=True) == outcome


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (-9, Outcome(verdict=Verdict.FAILED, reason="killed by signal 9 (SIGKILL)", exit_code=137, signal=9)),
        (137, Outcome(verdict=Verdict.FAILED, reason="exit code 137", exit_code=137)),
    ],
)
def test_an_exit_of_another_program_stands_for_no_signal(code: int, outcome: Outcome) -> None:
    assert from_exit(code, by_shell=False) == outcome


@pytest.mark.parametrize("code", [-9, 137])
def test_a_retry_policy_knows_an_end_by_a_signal_by_its_exit_code(code: int) -> None:
    outcome = from_exit(code, by_shell=True)
    assert RetryPolicy(max=1, exit_codes=(137,)).covers(outcome)
    assert not RetryPolicy(max=1, exit_codes=(143,)).covers(outcome)
