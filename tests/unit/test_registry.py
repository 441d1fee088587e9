"""Kinds and callables by name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jobsched import callables, registry
from jobsched.domain.errors import InvalidInput
from jobsched.domain.outcomes import Assignment, Verdict
from jobsched.executors.python import perform_in_process
from jobsched.executors.shell import ShellExecutor


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for module, names in (
        (registry, ("_paths", "_executors")),
        (callables, ("_registered", "_by_function", "_resolved")),
    ):
        for name in names:
            monkeypatch.setattr(module, name, dict(getattr(module, name)))
    yield


def test_a_kind_is_loaded_once() -> None:
    assert isinstance(registry.executor("shell"), ShellExecutor)
    assert registry.executor("shell") is registry.executor("shell")


def test_a_kind_can_be_added_and_replaced() -> None:
    registry.register("mine", "jobsched.executors.shell:ShellExecutor")
    first = registry.executor("mine")
    registry.register("mine", "jobsched.executors.steps:StepsExecutor")
    assert type(registry.executor("mine")) is not type(first)
    assert "mine" in registry.kinds()


@pytest.mark.parametrize("path", ["no.such.module:Class", "jobsched.executors.shell:NoSuchClass"])
def test_a_kind_that_cannot_be_imported_says_so_at_use_and_not_at_preload(path: str) -> None:
    registry.register("broken", path)
    registry.preload()
    with pytest.raises(InvalidInput, match=path.split(":")[0]):
        registry.executor("broken")


def test_a_decorated_function_is_found_by_name_and_by_path_and_stays_itself() -> None:
    decorated = registry.callable_job("tidy", in_process=True)(tidy)
    assert decorated is tidy
    assert registry.resolve("tidy").in_process
    assert registry.resolve(f"{__name__}:tidy").in_process
    assert registry.resolve("tidy")(path="/tmp") == "tidied /tmp"


def test_an_undecorated_function_is_not_trusted_in_process() -> None:
    assert not registry.resolve(f"{__name__}:tidy").in_process


def test_registering_again_replaces() -> None:
    registry.callable_job("tidy", in_process=True)(tidy)
    assert registry.resolve("tidy").in_process
    registry.callable_job("tidy")(tidy)
    assert not registry.resolve("tidy").in_process


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tidy", "registered"),
        ("tests.no_such:f", "cannot import"),
        (f"{__name__}:no", "has no 'no'"),
        (f"{__name__}:NUMBER", "cannot be called"),
        (":f", "is not allowed"),
    ],
)
def test_what_cannot_be_called_is_explained(name: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        registry.resolve(name)


NUMBER = 5


def tidy(path: str) -> str:
    return f"tidied {path}"


def a_set() -> set[int]:
    return {1}


def _in_process(call: str, **params: object) -> Assignment:
    return Assignment(
        run_id=1, attempt=1, project="p", job="j", kind="python", spec={"call": call}, params=dict(params)
    )


def test_a_trusted_callable_runs_in_this_process() -> None:
    outcome = perform_in_process(_in_process(f"{__name__}:tidy", path="/x"), start_work=lambda: None)
    assert (outcome.verdict, outcome.result) == (Verdict.SUCCEEDED, "tidied /x")


@pytest.mark.parametrize(
    ("call", "reason", "no_retry"),
    [
        ("nobody", "no callable is registered", True),
        (f"{__name__}:a_set", "cannot be stored as JSON", True),
        ("tests.conformance.executors.callables:fail", "ValueError: the disk is full", False),
    ],
)
def test_a_failure_in_process_is_an_outcome(call: str, reason: str, no_retry: bool) -> None:
    outcome = perform_in_process(_in_process(call), start_work=lambda: None)
    assert outcome.verdict is Verdict.FAILED
    assert reason in outcome.reason
    assert outcome.no_retry is no_retry
