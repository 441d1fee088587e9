"""Whatever parameters, environment and commands a job may have, its commands start and find all of them."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobsched.domain import parameters
from jobsched.domain.fieldtypes import LARGEST_ENVIRONMENT_BYTES
from jobsched.domain.outcomes import Assignment, Report, Verdict
from jobsched.engine import Slot
from jobsched.shim.lease import lease_clock
from tests.engine_kit import LEASE_SECONDS, ScriptedWatch, assignment, shell

Perform = Callable[[Assignment], Report]
BYTES = parameters.LARGEST_BYTES - 16
LARGEST_ENV = {f"A{number}": "x" * (LARGEST_ENVIRONMENT_BYTES // 4 - 8) for number in range(4)}
PARAMS: dict[str, dict[str, Any]] = {
    "one long text": {"long": "x" * BYTES, "small": "here"},
    # Each character has two bytes, and six in the ASCII of a variable.
    "a long text that is longer in a variable": {"long": "é" * (BYTES // 2), "small": "here"},
    "many": {**{f"p{number}": number for number in range(4000)}, "small": "here"},
    "of the job and of the request": {"long": "x" * BYTES, "other": "é" * (BYTES // 2), "small": "here"},
}
KINDS = ("shell", "steps")


def work(kind: str, command: str, **details: Any) -> Assignment:
    if kind == "shell":
        return shell(command, **details)
    step = {"name": "first", "run": command, "env": {f"B{name}": value for name, value in LARGEST_ENV.items()}}
    return assignment("steps", {"steps": [step]}, **details)


@pytest.fixture(scope="module")
def workspaces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workspaces")


@pytest.fixture(scope="module")
def slot(workspaces: Path) -> Iterator[Slot]:
    with Slot(workspace_dir=workspaces) as made:
        yield made


def perform(slot: Slot, work: Assignment) -> Report:
    return slot.perform(work, ScriptedWatch(), deadline=lease_clock() + LEASE_SECONDS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("params", PARAMS.values(), ids=PARAMS)
def test_a_command_finds_all_parameters_in_a_file(
    kind: str, params: dict[str, Any], slot: Slot, workspaces: Path
) -> None:
    report = perform(slot, work(kind, 'cat "$JOBSCHED_PARAMS_FILE" >&2; ls -A', params=params, env=LARGEST_ENV))
    assert report.outcome.verdict is Verdict.SUCCEEDED, report.outcome.reason
    assert report.output_total == len(json.dumps(params, ensure_ascii=False).encode())
    assert not list(workspaces.glob("*/*.params.json"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_holds_the_parameters_as_json(kind: str, slot: Slot) -> None:
    params = {"name": "Zoë", "sizes": [1, 2.5, None], "nested": {"a": True}}
    report = perform(slot, work(kind, 'cat "$JOBSCHED_PARAMS_FILE"', params=params))
    assert json.loads(report.output) == params


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("params", PARAMS.values(), ids=PARAMS)
def test_small_parameters_have_a_variable_beside_large_ones(kind: str, params: dict[str, Any], slot: Slot) -> None:
    report = perform(slot, work(kind, 'echo "$JOBSCHED_PARAM_SMALL"', params=params, env=LARGEST_ENV))
    assert report.output == b"here\n"


def test_what_is_too_long_for_a_variable_has_none(slot: Slot) -> None:
    params = PARAMS["a long text that is longer in a variable"]
    report = perform(slot, shell('echo "${JOBSCHED_PARAMS-none}" "${#JOBSCHED_PARAM_LONG}"', params=params))
    assert report.output.split()[0] == b"none"


@pytest.mark.parametrize("kind", KINDS)
def test_the_longest_command_starts(kind: str, slot: Slot) -> None:
    command = ": " + "x" * (parameters.LONGEST_ARGUMENT_BYTES - 2)
    report = perform(slot, work(kind, command, params=PARAMS["many"], env=LARGEST_ENV))
    assert report.outcome.verdict is Verdict.SUCCEEDED, report.outcome.reason


@pytest.fixture
def narrow_slot(tmp_path: Path) -> Iterator[Slot]:
    """A slot whose programs have a stack of 1 MiB, and so get 256 KiB of arguments and environment."""
    before = resource.getrlimit(resource.RLIMIT_STACK)
    resource.setrlimit(resource.RLIMIT_STACK, (1024 * 1024, before[1]))
    try:
        with Slot(workspace_dir=tmp_path) as made:
            made.warm()
            yield made
    finally:
        resource.setrlimit(resource.RLIMIT_STACK, before)


def test_with_less_room_variables_of_parameters_give_way(narrow_slot: Slot) -> None:
    params = PARAMS["one long text"] | {"more": "x" * BYTES}
    report = perform(narrow_slot, shell('echo "${JOBSCHED_PARAMS-none}"; cat "$JOBSCHED_PARAMS_FILE"', params=params))
    assert report.output == b"none\n" + json.dumps(params).encode()


@pytest.mark.parametrize("kind", KINDS)
def test_with_too_little_room_for_the_environment_a_sentence_says_so(kind: str, narrow_slot: Slot) -> None:
    outcome = perform(narrow_slot, work(kind, "true", env=LARGEST_ENV)).outcome
    assert (outcome.verdict, outcome.no_retry) == (Verdict.FAILED, True)
    assert "more than 262144 in all and 131072 in one text; shorten `env`" in outcome.reason
    assert "Argument list too long" not in outcome.reason
