"""`${params.NAME}` in the URL of an `http` job: the one place where a parameter is filled in."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from jobsched.domain.errors import InvalidInput

_PLACE: Final = re.compile(r"\$\{([^}]*)\}?")
_NAME: Final = re.compile(r"params\.([A-Za-z_][A-Za-z0-9_]*)\Z", re.ASCII)


def expand(url: str, params: Mapping[str, Any] | None) -> str:
    """Return the URL with every `${params.NAME}` replaced by that parameter, percent-encoded.

    Encoding keeps a value inside its place: what stands for a port or one segment of the path can be nothing
    more. Without `params`, a digit stands in, so that the rest of the URL can be checked. Raises
    `InvalidInput` for a parameter that is missing or not plain, and for `${` that begins anything else.
    """

    def value(found: re.Match[str]) -> str:
        name = _NAME.match(found[1])
        if name is None or not found[0].endswith("}"):
            raise InvalidInput(f"{found[0]!r} in a URL must be ${{params.NAME}}, or write %24%7B for the characters")
        return "1" if params is None else _encoded(name[1], params)

    return _PLACE.sub(value, url)


def _encoded(name: str, params: Mapping[str, Any]) -> str:
    if name not in params:
        raise InvalidInput(f"the URL needs the parameter {name!r}; give it in the job's params or with the request")
    given = params[name]
    if given is None or isinstance(given, dict | list | tuple):
        raise InvalidInput(f"the parameter {name!r} goes into the URL and must be text, a number, true or false")
    text = given if isinstance(given, str) else json.dumps(given)
    if text in (".", ".."):  # the two segments that encoding leaves as they are
        raise InvalidInput(f"the parameter {name!r} is {text!r}, which would lead to another part of the URL")
    return quote(text, safe="")
