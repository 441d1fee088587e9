"""Types that several models share: each says once what is accepted and what to tell a person otherwise."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from jobsched.domain import durations, parameters
from jobsched.domain.errors import InvalidInput
from jobsched.domain.parameters import LONGEST_ARGUMENT_BYTES

LARGEST_ENVIRONMENT_BYTES: Final = 256 * 1024
"""Of a job, and of a step beside it. Linux hands 2 MiB to a program under the usual stack limit of 8 MiB."""

OWN_PREFIX: Final = "JOBSCHED_"
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Strict(BaseModel):
    """Base of what users write: unknown keys and wrong types are refused, and nothing changes afterwards."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, hide_input_in_errors=True
    )


def _duration(value: Any) -> timedelta:
    try:
        return durations.parse(value)
    except InvalidInput as error:
        raise ValueError(error.message) from error


_DURATION_SCHEMA: Final[dict[str, Any]] = {
    "anyOf": [
        {"type": "string", "pattern": rf"^(?:{durations.PATTERN}|\d{{1,12}})$"},
        {"type": "number", "minimum": 0},
    ]
}

Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(durations.to_text, return_type=str, when_used="json"),
    WithJsonSchema(_DURATION_SCHEMA),
]
"""A duration as text such as 90s or 1h30m, or a number of seconds."""


def positive(length: timedelta) -> timedelta:
    """Refuse a length of time in which nothing can be done."""
    if length <= timedelta(0):
        raise ValueError("must be longer than 0s")
    return length


PositiveDuration = Annotated[Duration, AfterValidator(positive)]

NO_LIMIT: Final = "none"


def _limit(value: Any) -> timedelta | None:
    return None if value is None or value == NO_LIMIT else positive(_duration(value))


def _limit_text(limit: timedelta | None) -> str:
    return NO_LIMIT if limit is None else durations.to_text(limit)


Limit = Annotated[
    timedelta | None,
    BeforeValidator(_limit),
    PlainSerializer(_limit_text, return_type=str, when_used="json"),
    WithJsonSchema({"anyOf": [*_DURATION_SCHEMA["anyOf"], {"const": NO_LIMIT}]}),
]
"""A time limit: a duration above zero, or `none`."""


def _text_of_number(value: Any) -> Any:
    """YAML reads `PORT: 8080` as a number, which can be one text only."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


TextOrNumber = Annotated[str, BeforeValidator(_text_of_number, json_schema_input_type=str | int)]


def _argument(text: str) -> str:
    size = len(text.encode())
    if size > LONGEST_ARGUMENT_BYTES:
        raise ValueError(f"has {size} bytes, more than the {LONGEST_ARGUMENT_BYTES} a command may have; use a file")
    if not text.strip():
        raise ValueError("is empty; write a command for /bin/sh")
    return text


Command = Annotated[str, AfterValidator(_argument)]


def _environment(env: dict[str, str]) -> dict[str, str]:
    for name, value in env.items():
        if not _VARIABLE.fullmatch(name):
            raise ValueError(f"{name!r} cannot name a variable; use letters, digits and underscores, no digit first")
        if name.startswith(OWN_PREFIX):
            raise ValueError(f"{name!r} cannot be set: names that begin with {OWN_PREFIX} belong to the scheduler")
        if len(value.encode()) > LONGEST_ARGUMENT_BYTES:
            raise ValueError(f"the value of {name!r} is longer than {LONGEST_ARGUMENT_BYTES} bytes; use a file")
    size = sum(len(f"{name}={value}".encode()) for name, value in env.items())
    if size > LARGEST_ENVIRONMENT_BYTES:
        raise ValueError(
            f"its variables have {size} bytes together, more than the {LARGEST_ENVIRONMENT_BYTES} they may have;"
            " use a file"
        )
    return env


Environment = Annotated[
    dict[str, TextOrNumber],
    AfterValidator(_environment),
    Field(json_schema_extra={"propertyNames": {"pattern": f"^(?!{OWN_PREFIX}){_VARIABLE.pattern}$"}}),
]


def _json_object(value: Any) -> Any:
    if not isinstance(value, dict):
        return value  # told apart by the type that follows
    parameters.check(value)
    return value


def _json_value(value: Any) -> Any:
    parameters.size(value)
    return value


JsonObject = Annotated[dict[str, Any], BeforeValidator(_json_object, json_schema_input_type=dict[str, Any])]
JsonValue = Annotated[Any, BeforeValidator(_json_value, json_schema_input_type=Any)]


def matching(pattern: str, sentence: str) -> Callable[[str], str]:
    """Return a check that a text matches all of a pattern; `sentence` says what is expected otherwise."""
    compiled = re.compile(pattern, re.ASCII)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(f"{text[:120]!r} is not allowed: {sentence}")
        return text

    return check


Byte = Annotated[int, Field(ge=0, le=255)]
Status = Annotated[int, Field(ge=100, le=599)]
