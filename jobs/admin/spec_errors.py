"""What pydantic says of a JobSpec, in the words of a person."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ValidationError


def problems(error: ValidationError) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield where each problem lies, as keys of the YAML format, and one sentence about it."""
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        message = problem["msg"].removeprefix("Value error, ").strip()
        yield problem["loc"], message[:1].upper() + message[1:] + ("" if message.endswith((".", "!", "?")) else ".")
