"""What pydantic finds wrong with a job, as sentences in the words of the YAML format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from jobsched.domain.catchup import CatchUp
from jobsched.domain.kinds import HttpSpec, Step
from jobsched.domain.nearest import did_you_mean
from jobsched.domain.retry import RetryPolicy
from jobsched.domain.specs import JobSpec

Path = tuple[str | int, ...]

_MODELS: Final[Mapping[Path, type[BaseModel]]] = {
    (): JobSpec,
    ("steps",): Step,
    ("http",): HttpSpec,
    ("retries",): RetryPolicy,
    ("catch_up",): CatchUp,
}
_EXPECTED: Final = {
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "list_type": "a list",
    "tuple_type": "a list",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where, as keys and places in lists, and a sentence about it."""

    path: Path
    sentence: str


def problems(error: ValidationError) -> list[Problem]:
    """Return what is wrong with the data of a `JobSpec`."""
    found = error.errors(include_url=False)
    paths = [detail["loc"] for detail in found]
    return [
        Problem(path=detail["loc"], sentence=_sentence(detail))
        for detail in found
        # A list whose entries are wrong is reported as too short as well.
        if not (detail["type"] == "too_short" and any(_inside(path, detail["loc"]) for path in paths))
    ]


def where(path: Path) -> str:
    """Return the place as a person would say it: `key 'steps', entry 2, 'run'`."""
    parts = [f"entry {part + 1}" if isinstance(part, int) else f"'{part}'" for part in path]
    return "key " + ", ".join(parts) if parts else ""


def _inside(path: Path, outer: Path) -> bool:
    return len(path) > len(outer) and path[: len(outer)] == outer


def _sentence(detail: Any) -> str:
    kind, given, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind in _EXPECTED:
        return _wrong_type(_EXPECTED[kind], given)
    match kind:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return _unknown(detail["loc"])
        case "literal_error":
            return f"{_shown(given)} is not allowed; it must be {context['expected']}"
        case "greater_than_equal":
            return f"{_shown(given)} is too small; the least is {context['ge']}"
        case "less_than_equal":
            return f"{_shown(given)} is too large; the most is {context['le']}"
        case "too_short":
            return "is empty; give at least one entry or leave the key out"
        case "too_long" | "string_too_long":
            return f"is too long; the most is {context['max_length']}"
        case "string_too_short":
            return "is empty"
        case _:
            return str(detail["msg"])


def _wrong_type(expected: str, given: Any) -> str:
    if expected == "text" and isinstance(given, bool | int | float):
        return f"must be text, but {_shown(given)} is read as {_kind(given)}; put it in quotes"
    return f"must be {expected}, not {_shown(given)}"


def _unknown(path: Path) -> str:
    model = _MODELS.get(tuple(part for part in path[:-1] if isinstance(part, str)))
    known = list(model.model_fields) if model else []
    return "is not known" + (did_you_mean(str(path[-1]), known) or f"; known are {', '.join(known)}")


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    return "a number" if isinstance(value, int | float) else "text"


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
