"""How large parameters may be, and the sentence for those that are larger."""

from __future__ import annotations

from typing import Any

import pytest

from jobsched.domain import parameters
from jobsched.domain.errors import InvalidInput
from jobsched.domain.manifest import parse_job

LARGEST = {"a": "x" * (parameters.LARGEST_BYTES - len('{"a": ""}'))}
TOO_LARGE = {"a": LARGEST["a"] + "x"}


def test_the_size_is_that_of_json_in_utf_8() -> None:
    assert parameters.size({"a": "é"}) == len('{"a": "é"}'.encode()) == 11


def test_the_largest_parameters_are_taken_and_one_byte_more_is_not() -> None:
    parameters.check(LARGEST)
    with pytest.raises(parameters.Unfit, match="has 65537 bytes as JSON, more than the 65536 that a run can be given"):
        parameters.check(TOO_LARGE)


def test_the_runs_of_one_request_are_bounded_together() -> None:
    parameters.check(LARGEST, runs=128)
    with pytest.raises(parameters.Unfit, match=r"more than the 8388608 .* request at most 128 runs at once"):
        parameters.check(LARGEST, runs=129)


@pytest.mark.parametrize("value", [{"a": float("nan")}, {"a": {1, 2}}, {"a": b"x"}])
def test_what_is_no_json_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(parameters.Unfit, match="cannot be written as JSON"):
        parameters.size(value)


def test_what_is_nested_without_end_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(parameters.Unfit, match="cannot be written as JSON"):
        parameters.size(deep)


@pytest.mark.parametrize(
    ("key", "keys", "sentence"),
    [
        ("params", {"run": "true", "params": TOO_LARGE}, "has 65537 bytes as JSON, more than the 65536"),
        ("params", {"run": "true", "params": {str(n): n for n in range(9000)}}, "more than the 65536"),
        ("args", {"task": "a.b", "args": ["x" * 70_000]}, "has 70004 bytes as JSON, more than the 65536"),
        ("args", {"task": "a.b", "args": [1] * 30_000}, "more than the 65536"),
        ("env", {"run": "true", "env": {f"A{n}": "x" * 99_000 for n in range(3)}}, "more than the 262144"),
        ("env", {"run": "true", "env": {f"A{n}": "" for n in range(50_000)}}, "more than the 262144"),
        ("steps", {"steps": [{"name": "a", "run": "b", "env": {f"A{n}": "x" * 99_000 for n in range(3)}}]}, "262144"),
    ],
)
def test_a_job_with_more_is_refused(key: str, keys: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_job({"name": "Job", **keys})
    assert key in str(refused.value) and sentence in str(refused.value)


def test_a_job_with_the_largest_parameters_is_taken() -> None:
    assert parse_job({"name": "Job", "run": "true", "params": LARGEST}).params == LARGEST
