"""However long or broken the text of a failure is, its class, its exit code and the decision to retry stay."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from jobs.models import Attempt, Job, Run, Transition
from jobs.services import control, running
from jobsched.domain.texts import NAME_LIMIT, TEXT_LIMIT
from tests.loud_failures import RETRIED

pytestmark = pytest.mark.usefixtures("own_slot")

KINDS = ("python", "trusted", "celery")
REFUSED = "tests.loud_failures.Refused"
RETRIES = {"max": 3, "backoff": "1h", "strategy": "fixed"}
Perform = Callable[..., dict[str, tuple[Run, Attempt]]]


@pytest.fixture(autouse=True)
def stderr() -> Iterator[None]:
    """A callable that runs in this process may replace it."""
    before = sys.stderr
    yield
    sys.stderr = before


@pytest.fixture
def perform(make_job: Callable[..., Job]) -> Perform:
    """Perform a run of each failure, and return each run with its attempt."""

    def perform(names: Iterable[str], kind: str, retries: dict[str, Any]) -> dict[str, tuple[Run, Attempt]]:
        runs = {name: _requested(make_job, name, kind, retries) for name in names}
        running.work("default", hostname="slot@test")
        return {name: _ended(run) for name, run in runs.items()}

    return perform


def _requested(make_job: Callable[..., Job], name: str, kind: str, retries: dict[str, Any]) -> Run:
    if kind == "celery":
        make_job(name, kind="celery", spec={"task": f"loud.{name}"}, retries=retries)
    else:
        trusted = kind == "trusted"
        call = f"loud.{'trusted-' if trusted else ''}{name}"
        make_job(name, kind="python", spec={"call": call}, in_process=trusted, retries=retries)
    return control.trigger(job=name, actor="test")


def _ended(run: Run) -> tuple[Run, Attempt]:
    run.refresh_from_db()
    [attempt] = Attempt.objects.filter(run=run)
    [change] = Transition.objects.filter(run=run, before="running")
    for text in (run.reason, attempt.reason, change.reason):
        assert 0 < len(text) < TEXT_LIMIT + 200, "the sentence of the retry decision is added to the text"
    return run, attempt


@pytest.mark.parametrize("kind", KINDS)
def test_the_class_of_an_exception_is_kept_and_decides(kind: str, perform: Perform) -> None:
    ended = perform(RETRIED, kind, {**RETRIES, "exceptions": [REFUSED]})
    for name, (run, attempt) in ended.items():
        assert (name, run.state, attempt.verdict) == (name, "scheduled", "failed")
        assert "retry 1 of 3" in run.reason
        assert attempt.error is not None
        assert len(attempt.error) <= NAME_LIMIT
        assert attempt.error.startswith("tests.loud_failures.")
    _, attempt = ended["long-text"]
    assert attempt.reason.startswith("Refused: begin xxx")
    assert attempt.reason.endswith("xxx end")
    assert "characters left out" in attempt.reason


@pytest.mark.parametrize("kind", ["python", "trusted"])  # Celery itself ends the process of a task by a SystemExit
def test_an_exit_with_a_text_keeps_its_exit_code(kind: str, perform: Perform) -> None:
    ended = perform(["long-exit", "raising-exit"], kind, {**RETRIES, "exit_codes": [1]})
    for run, attempt in ended.values():
        assert (run.state, attempt.exit_code, attempt.error) == ("scheduled", 1, "SystemExit")


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_exception_asks_for_is_kept(kind: str, perform: Perform) -> None:
    ended = perform(["long-refusal", "long-wait", "endless-wait"], kind, RETRIES)
    found = {name: (run.state, attempt.error) for name, (run, attempt) in ended.items()}
    assert found == {
        "long-refusal": ("failed", "jobsched.domain.errors.DoNotRetry"),
        "long-wait": ("scheduled", "jobsched.domain.errors.RetryAfter"),
        "endless-wait": ("scheduled", "jobsched.domain.errors.RetryAfter"),
    }
    assert "retry 1 of 3 in 7 s" in ended["long-wait"][0].reason
    assert "retry 1 of 3 in 1 h" in ended["endless-wait"][0].reason
