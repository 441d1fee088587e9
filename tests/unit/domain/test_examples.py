"""The example files, as far as they can be held without a stack; `make demo` runs them for real."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from examples.callables import word_count
from jobsched.domain.manifest import parse
from jobsched.domain.specs import JobSpec
from jobsched.domain.urltemplate import expand

FOLDER = Path(__file__).parents[3] / "examples"
JOBS: dict[str, JobSpec] = {
    job.name: job for path in sorted(FOLDER.glob("*.yaml")) for job in parse(path.read_bytes(), filename=path.name).jobs
}


def test_the_readme_has_a_line_for_every_job_and_no_other() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| \[([^]]+)\]", (FOLDER / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(name for name, _ in rows) == sorted(JOBS)
    for name, file in rows:
        assert f"name: {name}\n" in (FOLDER / file).read_text(encoding="utf-8")


def test_the_callable_gives_the_result_that_the_readme_promises() -> None:
    result = word_count(**JOBS["word-count"].params)
    assert result == {"words": 9, "different": 8, "most_frequent": "the"}
    assert JOBS["word-count"].spec == {"call": "examples.callables:word_count"}


@pytest.mark.parametrize(("attempt", "code"), [(1, 1), (2, 1), (3, 0)])
def test_the_third_attempt_succeeds(attempt: int, code: int) -> None:
    job = JOBS["third-time-lucky"]
    ended = subprocess.run(["/bin/sh", "-c", job.spec["command"]], env={"JOBSCHED_ATTEMPT": str(attempt)}, check=False)
    assert ended.returncode == code
    assert job.retries.max >= 2


def test_the_health_check_takes_its_port_as_a_parameter() -> None:
    job = JOBS["health-check"]
    assert expand(job.spec["url"], {**job.params, "port": 41234}) == "http://127.0.0.1:41234/healthz"


def test_urgent_goes_before_routine() -> None:
    assert JOBS["urgent"].priority > JOBS["routine"].priority
    assert JOBS["urgent"].queue == JOBS["routine"].queue
