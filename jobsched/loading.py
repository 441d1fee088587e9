"""Find a thing by its dotted path."""

from __future__ import annotations

import importlib
from typing import Any

from jobsched.domain.errors import InvalidInput


def load(path: str) -> Any:
    """Import what `package.module:name` stands for. Raises `InvalidInput` when there is no such thing."""
    module_name, _, attributes = path.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except (ImportError, ValueError) as error:
        raise InvalidInput(f"cannot import {module_name!r} for {path!r}: {error}") from error
    for attribute in attributes.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError as error:
            raise InvalidInput(f"{module_name!r} has no {attributes!r}") from error
    return found
