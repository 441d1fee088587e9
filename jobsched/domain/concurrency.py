"""Which runs of a job count as the same, as a key that is filled in from parameters: `customer-{customer}`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from jobsched.domain.errors import InvalidInput

LONGEST: Final = 200
"""Characters of a template, and of the key that comes of it: it is part of an index."""

_PLACE: Final = re.compile(r"\{([^{}]*)\}")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


@lru_cache(maxsize=1024)
def names(template: str) -> tuple[str, ...]:
    """Return the parameters that a template needs, each once. Raises `InvalidInput` for a template that is none."""
    if not template.strip():
        raise InvalidInput("a concurrency key is empty; write a text such as customer-{customer}")
    if len(template) > LONGEST:
        raise InvalidInput(f"a concurrency key has at most {LONGEST} characters, this one {len(template)}")
    found = _PLACE.findall(template)
    if any(not _NAME.fullmatch(name) for name in found) or re.search(r"[{}]", _PLACE.sub("", template)):
        raise InvalidInput(
            f"{template!r} is not a concurrency key; between braces stands the name of a parameter, "
            "such as customer-{customer}"
        )
    return tuple(dict.fromkeys(found))


def render(template: str, params: Mapping[str, Any]) -> str:
    """Return the key for these parameters.

    Raises `InvalidInput` that names a parameter which is missing or neither text, a number, true nor false, and
    for a key of more than 200 characters.
    """
    values = {name: _text(name, params) for name in names(template)}
    key = _PLACE.sub(lambda found: values[found[1]], template)
    if len(key) > LONGEST:
        raise InvalidInput(f"the concurrency key {key[:40]!r}… has {len(key)} characters; the most is {LONGEST}")
    return key


def _text(name: str, params: Mapping[str, Any]) -> str:
    if name not in params:
        raise InvalidInput(
            f"the concurrency key needs the parameter {name!r}; give it in the job's params or with the request"
        )
    value = params[name]
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    raise InvalidInput(
        f"the parameter {name!r} is part of the concurrency key and must be text, a number, true or false"
    )
