"""Files of jobs, read and checked before anything is sent."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jobsched.domain import manifest, yamltree
from jobsched.domain.errors import InvalidInput
from jobsched.domain.specs import JobSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedFile:
    """A file that can be sent."""

    name: str
    text: str
    project: str
    jobs: tuple[JobSpec, ...]


def read_all(paths: Sequence[str]) -> list[CheckedFile]:
    """Read and check files. Raises InvalidInput with every problem of all of them, one a line."""
    problems: list[str] = []
    checked: list[CheckedFile] = []
    seen: dict[tuple[str, str], str] = {}
    for path in paths:
        name = "standard input" if path == "-" else path
        try:
            source = _read(path, name)
            file = manifest.parse(source, filename=name)
        except InvalidInput as error:
            problems.append(str(error))
            continue
        for job in file.jobs:
            first = seen.setdefault((file.project, job.name), name)
            if first != name:
                problems.append(f"{name}: job '{job.name}' stands in {first} already; keep one of them")
        checked.append(CheckedFile(name=name, text=source.decode(), project=file.project, jobs=file.jobs))
    if problems:
        raise InvalidInput("\n".join(problems))
    return checked


def _read(path: str, name: str) -> bytes:
    """Read a file, but no more of it than a file of jobs may hold and one byte to see that it holds more."""
    most = yamltree.MOST_BYTES + 1
    try:
        if path == "-":
            return sys.stdin.buffer.read(most)
        with Path(path).open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise InvalidInput(f"{name}: cannot be read: {error.strerror}") from error
