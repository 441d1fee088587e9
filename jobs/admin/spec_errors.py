"""What is wrong with a JobSpec, for the fields of a form."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ValidationError

from jobsched.domain import problems as domain


def problems(error: ValidationError) -> Iterator[tuple[domain.Path, str]]:
    """Yield where each problem lies, as keys of the YAML format, and a sentence about it."""
    for problem in domain.problems(error):
        yield problem.path, sentence(problem.sentence)


def sentence(text: str) -> str:
    """Make what is said after a key stand on its own."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
