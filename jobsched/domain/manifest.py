"""The file of jobs: YAML in, jobs out, and every problem of it as one sentence with file, line, job and key.

`python -m jobsched.domain.manifest` prints the format's JSON Schema, which is kept as `job.schema.json`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from jobsched.domain import durations, yamltree
from jobsched.domain.errors import InvalidInput
from jobsched.domain.fieldtypes import Strict
from jobsched.domain.nearest import did_you_mean
from jobsched.domain.problems import Path, problems, where
from jobsched.domain.specs import KINDS, JobSpec, Name
from jobsched.domain.yamltree import Tree

MOST_PROBLEMS: Final = 20
"""How many problems one error tells: enough to mend a file in one go, few enough to read."""


_PROJECT: Final[TypeAdapter[str]] = TypeAdapter(Name)


class Manifest(Strict):
    """A file of jobs."""

    project: Name = "default"
    """The project that the jobs belong to."""
    jobs: Annotated[tuple[JobSpec, ...], Field(strict=False, min_length=1)]
    """The jobs; each name once."""


def parse(text: str | bytes, *, filename: str) -> Manifest:
    """Read a file of jobs.

    Raises `InvalidInput` that names all its problems, up to twenty, one a line; then nothing of it counts.
    """
    tree = yamltree.read(text, filename=filename)
    reader = _Reader(filename=filename, tree=tree)
    items = reader.items()
    jobs = [reader.job(number, item) for number, item in enumerate(items)]
    project = reader.project()
    reader.raise_if_wrong()
    return Manifest(project=project, jobs=tuple(job for job in jobs if job is not None))


def parse_job(data: dict[str, Any]) -> JobSpec:
    """Read one job, as REST gives it. Raises `InvalidInput` that names its problems, one a line."""
    try:
        return JobSpec.model_validate(data)
    except ValidationError as error:
        name = data.get("name") if isinstance(data, dict) else None
        job = f"job '{name}'" if isinstance(name, str) else "the job"
        raise _all_of([(", ".join(filter(None, (job, where(p.path)))), p.sentence) for p in problems(error)]) from error


def json_schema() -> dict[str, Any]:
    """Return the format as JSON Schema (draft 2020-12), for editors."""
    schema = _unbroken(Manifest.model_json_schema(schema_generator=_Schema))
    schema["$defs"]["JobSpec"] |= {
        "title": "Job",
        "description": "One job. Exactly one of run, steps, http, call and task says what to do.",
        "oneOf": [{"required": [key]} for key in KINDS],
        "not": {"required": ["schedule", "at"]},
        "dependentRequired": {"args": ["task"]},
    }
    return {"$schema": _Schema.schema_dialect, **schema, "title": "Jobs of jobsched"}


def _unbroken(schema: Any) -> Any:
    """Editors show descriptions as they are, and docstrings are broken into lines."""
    if isinstance(schema, list):
        return [_unbroken(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: " ".join(value.split()) if key == "description" and isinstance(value, str) else _unbroken(value)
        for key, value in schema.items()
    }


@dataclass(kw_only=True, slots=True)
class _Reader:
    filename: str
    tree: Tree
    found: list[tuple[int, str, str]] = field(default_factory=list)
    """The line, the place in it, and the sentence."""
    names: dict[str, int] = field(default_factory=dict)
    """The line in which each job's name is first given."""

    def items(self) -> list[Any]:
        data = self.tree.data
        if data is None:
            raise InvalidInput(
                "the file is empty; it must have the key 'jobs' with a list of jobs", where=self.filename
            )
        if isinstance(data, list):
            raise InvalidInput("the file is a list; put it under the key 'jobs'", where=f"{self.filename}:1")
        if not isinstance(data, dict):
            raise InvalidInput("the file must have the key 'jobs' with a list of jobs", where=f"{self.filename}:1")
        known = list(Manifest.model_fields)
        for key in sorted(data.keys() - set(known)):
            self._problem((key,), f"is not known; beside 'jobs' there is only 'project'{did_you_mean(key, known)}")
        jobs = data.get("jobs")
        if "jobs" not in data:
            self._problem((), "the key 'jobs' is missing; it holds the list of jobs")
        elif not isinstance(jobs, list) or not jobs:
            self._problem(("jobs",), "must be a list with at least one job")
        return jobs if isinstance(jobs, list) else []

    def project(self) -> str:
        try:
            return _PROJECT.validate_python(self.tree.data.get("project", "default"), strict=True)
        except ValidationError as error:
            for problem in problems(error):
                self._problem(("project",), problem.sentence)
            return "default"

    def job(self, number: int, item: Any) -> JobSpec | None:
        if not isinstance(item, dict):
            self._problem(("jobs", number), f"job {number + 1} must be a mapping with a name and what to do")
            return None
        name = item.get("name")
        job = f"job '{name}'" if isinstance(name, str) else f"job {number + 1}"
        if isinstance(name, str):
            self._unique(name, number)
        empty = [key for key, value in item.items() if value is None]
        for key in empty:
            more = "; write none for no time limit" if key == "timeout" else "; give a value or leave the key out"
            self._problem(("jobs", number, key), f"is empty{more}", job=job)
        if empty:
            return None
        try:
            return JobSpec.model_validate(item)
        except ValidationError as error:
            for problem in problems(error):
                self._problem(("jobs", number, *problem.path), problem.sentence, job=job)
            return None

    def _unique(self, name: str, number: int) -> None:
        line = self.tree.line(("jobs", number, "name"))
        if name in self.names:
            sentence = f"is the name of two jobs, the first in line {self.names[name]}; rename one"
            self._problem(("jobs", number, "name"), sentence, job=f"job '{name}'")
        else:
            self.names[name] = line

    def _problem(self, path: Path, sentence: str, *, job: str = "") -> None:
        inner = path[2:] if path[:1] == ("jobs",) and len(path) > 1 else path
        self.found.append((self.tree.line(path), ", ".join(filter(None, (job, where(inner)))), sentence))

    def raise_if_wrong(self) -> None:
        if self.found:
            found = sorted(self.found, key=lambda problem: problem[0])
            raise _all_of(
                [(f"{self.filename}:{line}{place and f': {place}'}", sentence) for line, place, sentence in found]
            )


def _all_of(found: list[tuple[str, str]]) -> InvalidInput:
    if len(found) == 1:
        return InvalidInput(found[0][1], where=found[0][0])
    lines = [f"{place}: {sentence}" for place, sentence in found[:MOST_PROBLEMS]]
    if len(found) > MOST_PROBLEMS:
        lines.append(f"… and {len(found) - MOST_PROBLEMS} more problems")
    return InvalidInput("\n".join(lines))


class _Schema(GenerateJsonSchema):
    """A key that is not wanted is left out of the file, never written as null."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        generated = super().default_schema(schema)
        if generated.get("default", ...) is None:
            del generated["default"]
        return generated

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, timedelta):
            return durations.to_text(dft)
        if isinstance(dft, BaseModel):
            return dft.model_dump(mode="json", exclude_unset=True)
        return super().encode_default(dft)


def main() -> None:
    """Print the JSON Schema."""
    sys.stdout.write(json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
