"""The whole path: real beat, real workers, real servers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jobs.models import Attempt, Run
from jobs.services import control, definitions
from jobsched.domain.manifest import parse_job
from jobsched.domain.states import FINISHED
from tests.processes import wait_for


@pytest.fixture
def save(transactional_db: None) -> Callable[..., str]:
    """Save a job by the keys of the YAML format. Returns its name."""

    def make(name: str = "Job", **data: Any) -> str:
        return definitions.save(parse_job({"name": name, **data}), actor="test").name

    return make


@pytest.fixture
def request_run(transactional_db: None) -> Callable[..., Run]:
    def make(job: str = "Job", **options: Any) -> Run:
        return control.trigger(job=job, actor="test", **options)

    return make


def ended(run: Run, *, timeout: float = 60.0) -> Run:
    """Wait until a run has ended, and return it as it is then."""

    def look() -> bool:
        run.refresh_from_db()
        return run.state in FINISHED

    wait_for(look, timeout=timeout, what=f"the end of run {run.pk}")
    return run


def running(run: Run, *, timeout: float = 60.0) -> Run:
    """Wait until a run has been claimed."""

    def look() -> bool:
        run.refresh_from_db()
        return run.state == "running"

    wait_for(look, timeout=timeout, what=f"the start of run {run.pk}")
    return run


def attempts(run: Run) -> list[Attempt]:
    return list(Attempt.objects.filter(run=run).order_by("number"))
