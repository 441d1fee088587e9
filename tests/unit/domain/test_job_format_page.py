"""The page about the format is tried, line by line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from jobsched.domain.catchup import CatchUp
from jobsched.domain.kinds import HttpSpec
from jobsched.domain.manifest import json_schema, parse
from jobsched.domain.retry import RetryPolicy
from jobsched.domain.specs import JobSpec

PAGE = (Path(__file__).parents[3] / "docs" / "job-format.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_every_example_on_the_page_is_accepted(block: str) -> None:
    assert parse(block, filename="job-format.md").jobs


def table(heading: str) -> dict[str, str]:
    """The keys of the table below a heading, and their defaults."""
    section = re.split(r"^#+ ", PAGE.split(heading, 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    return dict(re.findall(r"^\| `(\w+)` \|[^|]*\|\s*`?([^|`]*?)`?\s*\|", section, re.MULTILINE))


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("## Keys of a job\n", JobSpec),
        ("### http\n", HttpSpec),
        ("## What is tried again\n", RetryPolicy),
        ("### What was missed\n", CatchUp),
    ],
)
def test_its_tables_have_every_key_and_no_other(heading: str, model: type[BaseModel]) -> None:
    assert sorted(table(heading)) == sorted(model.model_fields)


@pytest.mark.parametrize(
    ("heading", "definition", "keys"),
    [
        ("## Keys of a job\n", "JobSpec", ("timezone", "queue", "priority", "timeout", "grace", "on_lost", "jitter")),
        ("### http\n", "HttpSpec", ("method", "timeout", "max_bytes")),
        ("## What is tried again\n", "RetryPolicy", ("max", "backoff", "max_backoff")),
        ("### What was missed\n", "CatchUp", ("policy", "window", "limit")),
    ],
)
def test_its_defaults_are_those_of_the_schema(heading: str, definition: str, keys: tuple[str, ...]) -> None:
    properties, said = json_schema()["$defs"][definition]["properties"], table(heading)
    assert {key: said[key] for key in keys} == {key: str(properties[key]["default"]) for key in keys}
