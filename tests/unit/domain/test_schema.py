"""The JSON Schema that editors use."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import jobsched
from jobsched.domain import durations
from jobsched.domain.manifest import json_schema
from jobsched.domain.specs import KINDS, JobSpec

COMMITTED = Path(jobsched.__file__).parent / "job.schema.json"
JOB = json_schema()["$defs"]["JobSpec"]


def test_the_committed_schema_is_the_one_that_the_models_give() -> None:
    wanted = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    assert COMMITTED.read_text(encoding="utf-8") == wanted, (
        "run: python -m jobsched.domain.manifest > jobsched/job.schema.json"
    )


def test_it_names_its_dialect_and_knows_every_key() -> None:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert set(schema["properties"]) == {"project", "jobs"}
    assert schema["required"] == ["jobs"]
    assert list(JOB["properties"]) == list(JobSpec.model_fields)
    assert JOB["required"] == ["name"]


def test_unknown_keys_are_marked_everywhere() -> None:
    schema = json_schema()
    for part in (schema, *schema["$defs"].values()):
        assert part["additionalProperties"] is False


def test_every_key_of_a_job_is_described_for_the_editor() -> None:
    assert [key for key, value in JOB["properties"].items() if not value.get("description")] == []


def test_exactly_one_kind_is_asked_for_and_no_schedule_beside_a_moment() -> None:
    assert JOB["oneOf"] == [{"required": [key]} for key in KINDS]
    assert JOB["not"] == {"required": ["schedule", "at"]}


def test_short_forms_are_allowed() -> None:
    assert {"type": "string"} in JOB["properties"]["http"]["anyOf"]
    assert {"type": "integer", "minimum": 0, "maximum": 1000} in JOB["properties"]["retries"]["anyOf"]
    assert {"const": "none"} in JOB["properties"]["timeout"]["anyOf"]


def test_no_key_may_be_null() -> None:
    def nulls(part: Any) -> bool:
        if isinstance(part, dict):
            return part.get("type") == "null" or any(map(nulls, part.values()))
        return isinstance(part, list) and any(map(nulls, part))

    assert not nulls(json_schema())


@pytest.mark.parametrize(
    ("text", "fits"),
    [("90s", True), ("1h30m", True), ("500ms", True), ("90", True), ("", False), ("1.5h", False), ("30m1h", False)],
)
def test_the_pattern_of_a_duration_is_that_of_the_parser(text: str, fits: bool) -> None:
    pattern = JOB["properties"]["grace"]["anyOf"][0]["pattern"]
    assert bool(re.search(pattern, text)) is fits
    if fits:
        durations.parse(text)


def test_defaults_are_written_as_users_write_them() -> None:
    defaults = {key: value["default"] for key, value in JOB["properties"].items() if "default" in value}
    assert defaults["timeout"] == "1h"
    assert defaults["grace"] == "10s"
    assert defaults["retries"] == {}
    JobSpec.model_validate({"name": "x", "run": "y", **{k: v for k, v in defaults.items() if k != "args"}})
