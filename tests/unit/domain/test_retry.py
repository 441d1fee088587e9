"""Retry decisions: rules as a table, waits as properties."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from jobsched.domain.outcomes import Outcome, Verdict
from jobsched.domain.retry import LOST_RETRIES, RetryDecision, RetryPolicy, decide

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FAILED, TIMED_OUT, LOST = Verdict.FAILED, Verdict.TIMED_OUT, Verdict.LOST


def decision(
    policy: dict[str, Any], outcome: Outcome, *, tries: int = 1, unit: float = 0.5, **more: Any
) -> RetryDecision:
    return decide(RetryPolicy.model_validate(policy), outcome=outcome, tries=tries, now=NOW, unit=unit, **more)


RULES: list[tuple[dict[str, Any], Outcome, int, bool]] = [
    # The number of attempts
    ({}, Outcome(verdict=FAILED), 1, False),
    ({"max": 1}, Outcome(verdict=FAILED), 1, True),
    ({"max": 1}, Outcome(verdict=FAILED), 2, False),
    ({"max": 3}, Outcome(verdict=TIMED_OUT), 3, True),
    ({"max": 3}, Outcome(verdict=TIMED_OUT), 4, False),
    # What never is tried again
    ({"max": 9}, Outcome(verdict=Verdict.SUCCEEDED), 1, False),
    ({"max": 9}, Outcome(verdict=Verdict.CANCELLED), 1, False),
    ({"max": 9}, Outcome(verdict=FAILED, no_retry=True), 1, False),
    # Which failures
    ({"max": 9, "failures": ["timed_out"]}, Outcome(verdict=FAILED), 1, False),
    ({"max": 9, "failures": ["timed_out"]}, Outcome(verdict=TIMED_OUT), 1, True),
    ({"max": 9, "failures": ["failed"]}, Outcome(verdict=TIMED_OUT), 1, False),
    ({"max": 9, "exit_codes": [75]}, Outcome(verdict=FAILED, exit_code=75), 1, True),
    ({"max": 9, "exit_codes": [75]}, Outcome(verdict=FAILED, exit_code=1), 1, False),
    ({"max": 9, "exit_codes": [75]}, Outcome(verdict=FAILED), 1, False),
    ({"max": 9, "exit_codes": [75]}, Outcome(verdict=TIMED_OUT), 1, True),
    ({"max": 9, "statuses": [503]}, Outcome(verdict=FAILED, http_status=503), 1, True),
    ({"max": 9, "statuses": [503]}, Outcome(verdict=FAILED, http_status=404), 1, False),
    ({"max": 9, "exit_codes": [75], "statuses": [503]}, Outcome(verdict=FAILED, http_status=503), 1, True),
    ({"max": 9, "exceptions": ["ValueError"]}, Outcome(verdict=FAILED, error="ValueError"), 1, True),
    ({"max": 9, "exceptions": ["ValueError"]}, Outcome(verdict=FAILED, error="builtins.ValueError"), 1, True),
    ({"max": 9, "exceptions": ["builtins.ValueError"]}, Outcome(verdict=FAILED, error="ValueError"), 1, True),
    ({"max": 9, "exceptions": ["Busy"]}, Outcome(verdict=FAILED, error="shop.errors.Busy"), 1, True),
    ({"max": 9, "exceptions": ["shop.errors.Busy"]}, Outcome(verdict=FAILED, error="shop.errors.Busy"), 1, True),
    ({"max": 9, "exceptions": ["other.Busy"]}, Outcome(verdict=FAILED, error="shop.errors.Busy"), 1, False),
    ({"max": 9, "exceptions": ["Busy"]}, Outcome(verdict=FAILED, error="shop.errors.VeryBusy"), 1, False),
    ({"max": 9, "exceptions": ["Busy"]}, Outcome(verdict=FAILED), 1, False),
    ({"max": 9, "exceptions": ["OSError"]}, Outcome(verdict=FAILED, error="T", error_bases=("OSError",)), 1, True),
    ({"max": 9, "exceptions": ["OSError"]}, Outcome(verdict=FAILED, error="T", error_bases=("Exception",)), 1, False),
    # What the work itself asks for passes over which failures, and not over how many
    ({"max": 1, "exit_codes": [75]}, Outcome(verdict=FAILED, retry_after_seconds=5), 1, True),
    ({"max": 1, "exit_codes": [75]}, Outcome(verdict=FAILED, retry_after_seconds=5), 2, False),
    ({"max": 9}, Outcome(verdict=FAILED, retry_after_seconds=5, no_retry=True), 1, False),
    # A lost worker
    ({}, Outcome(verdict=LOST), LOST_RETRIES, True),
    ({}, Outcome(verdict=LOST), LOST_RETRIES + 1, False),
    ({"max": 9}, Outcome(verdict=LOST), 9, True),
    ({"max": 9}, Outcome(verdict=LOST), 10, False),
    ({"max": 9, "failures": ["failed"]}, Outcome(verdict=LOST), 1, False),
    ({"max": 9, "exit_codes": [75]}, Outcome(verdict=LOST), 1, True),
]


@pytest.mark.parametrize(("policy", "outcome", "tries", "again"), RULES)
def test_whether_there_is_another_attempt(policy: dict[str, Any], outcome: Outcome, tries: int, again: bool) -> None:
    made = decision(policy, outcome, tries=tries)
    assert made.again is again
    assert (made.at is not None) is again


def test_a_job_that_must_not_be_repeated_fails_when_its_worker_is_lost() -> None:
    lost = Outcome(verdict=LOST, reason="its worker was lost")
    assert decision({"max": 9}, lost, on_lost="fail") == RetryDecision(
        again=False, reason="its worker was lost; not repeated, as the job does not allow it"
    )


def test_on_lost_is_about_lost_workers_only() -> None:
    assert decision({"max": 1}, Outcome(verdict=FAILED), on_lost="fail").again


def test_an_attempt_handed_back_is_done_again_at_once() -> None:
    made = decision({}, Outcome(verdict=Verdict.HANDED_BACK, reason="the worker is stopping"), tries=0)
    assert made == RetryDecision(again=True, at=NOW, reason="the worker is stopping")


@pytest.mark.parametrize(
    ("policy", "outcome", "tries", "reason"),
    [
        ({}, Outcome(verdict=FAILED, reason="exit code 2"), 1, "exit code 2"),
        ({"max": 3}, Outcome(verdict=FAILED, reason="exit code 2"), 1, "exit code 2; retry 1 of 3 in 5 seconds"),
        ({"max": 3}, Outcome(verdict=FAILED, reason="exit code 2"), 4, "exit code 2; given up after 4 attempts"),
        ({"max": 3}, Outcome(verdict=FAILED), 4, "given up after 4 attempts"),
        ({"max": 3}, Outcome(verdict=FAILED, reason="boom", no_retry=True), 1, "boom; no retry was asked for"),
        ({}, Outcome(verdict=FAILED, reason="boom", no_retry=True), 1, "boom"),
        (
            {"max": 3, "exit_codes": [75]},
            Outcome(verdict=FAILED, reason="exit code 2", exit_code=2),
            1,
            "exit code 2; not among the failures that the job retries",
        ),
    ],
)
def test_the_reason_tells_a_person(policy: dict[str, Any], outcome: Outcome, tries: int, reason: str) -> None:
    assert decision(policy, outcome, tries=tries).reason == reason


@given(
    st.floats(0, 1, exclude_max=True),
    st.integers(1, 1000),
    st.timedeltas(timedelta(0), timedelta(days=3650)),
    st.timedeltas(timedelta(0), timedelta(days=3650)),
)
def test_the_wait_is_a_part_of_the_doubled_backoff_within_its_limit(
    unit: float, tries: int, backoff: timedelta, max_backoff: timedelta
) -> None:
    policy = {"max": 1000, "backoff": backoff, "max_backoff": max_backoff}
    made = decision(policy, Outcome(verdict=FAILED), tries=tries, unit=unit)
    assert made.at is not None
    longest = min(max_backoff.total_seconds(), backoff.total_seconds() * 2 ** (tries - 1))
    assert (made.at - NOW).total_seconds() == pytest.approx(unit * longest, abs=1e-5)


@pytest.mark.parametrize(("tries", "seconds"), [(1, 10), (2, 20), (3, 40), (4, 60), (5, 60)])
def test_the_backoff_doubles_up_to_its_limit(tries: int, seconds: float) -> None:
    policy = {"max": 9, "backoff": "10s", "max_backoff": "1m"}
    made = decision(policy, Outcome(verdict=FAILED), tries=tries, unit=0.999999)
    assert made.at is not None
    assert (made.at - NOW).total_seconds() == pytest.approx(seconds, rel=1e-4)


@pytest.mark.parametrize(
    ("policy", "waits"),
    [
        ({"strategy": "fixed"}, [10, 10, 10, 10]),
        ({"strategy": "linear"}, [10, 20, 30, 35]),
        ({"strategy": "exponential", "jitter": False}, [10, 20, 35, 35]),
        ({"strategy": "fixed", "jitter": True}, [5, 5, 5, 5]),
        ({"strategy": "linear", "jitter": True}, [5, 10, 15, 17.5]),
        ({}, [5, 10, 17.5, 17.5]),
    ],
)
def test_how_the_wait_grows_and_whether_chance_has_a_part_in_it(policy: dict[str, Any], waits: list[float]) -> None:
    written = RetryPolicy.model_validate({"max": 9, "backoff": "10s", "max_backoff": "35s", **policy})
    assert [written.wait(tries, 0.5).total_seconds() for tries in (1, 2, 3, 4)] == waits


@pytest.mark.parametrize(("left", "again"), [(4.9, False), (5.0, False), (5.1, True)])
def test_no_attempt_begins_at_or_after_the_deadline(left: float, again: bool) -> None:
    failed = Outcome(verdict=FAILED, reason="exit code 1")
    for outcome in (failed, Outcome(verdict=LOST, reason="exit code 1"), replace(failed, retry_after_seconds=5.0)):
        made = decision({"max": 1}, outcome, unit=0.5, deadline=NOW + timedelta(seconds=left))
        assert made.again is again
        if not again:
            assert made.reason == "exit code 1; not tried again, as its deadline would have passed by then"


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [(0, 0), (7.5, 7.5), (-3, 0), (float("nan"), 0), (1e300, 3650 * 86400), (float("inf"), 3650 * 86400)],
)
def test_the_work_may_ask_for_its_own_wait(asked: float, seconds: float) -> None:
    made = decision({"max": 1, "max_backoff": "1s"}, Outcome(verdict=FAILED, retry_after_seconds=asked))
    assert made.at == NOW + timedelta(seconds=seconds)


# The policy as it is written and kept


def test_a_number_is_how_many_attempts_may_follow() -> None:
    assert RetryPolicy.model_validate(3) == RetryPolicy(max=3)


def test_a_policy_reads_back_from_json() -> None:
    policy = RetryPolicy.model_validate(
        {
            "max": 2,
            "backoff": "1m30s",
            "max_backoff": 600,
            "failures": ["failed"],
            "exit_codes": [1],
            "exceptions": ["E"],
        }
    )
    kept = policy.model_dump(mode="json", exclude_defaults=True)
    assert kept["backoff"] == "1m30s"
    assert RetryPolicy.model_validate(kept) == policy
    assert RetryPolicy.model_validate({}) == RetryPolicy()


@pytest.mark.parametrize(
    "wrong",
    [
        {"max": -1},
        {"max": 1001},
        {"max": True},
        {"max": "3"},
        True,
        {"backoff": "-1s"},
        {"failures": []},
        {"failures": ["cancelled"]},
        {"exit_codes": [256]},
        {"exit_codes": []},
        {"statuses": [99]},
        {"tries": 3},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(wrong: Any) -> None:
    with pytest.raises(ValidationError):
        RetryPolicy.model_validate(wrong)
