"""Find a thing by its dotted path."""

from __future__ import annotations

import importlib
from inspect import getattr_static
from types import MethodType, ModuleType
from typing import Any

from jobsched.domain.errors import InvalidInput


def load(path: str) -> Any:
    """Import what `package.module:name` stands for. Raises `InvalidInput` when there is no such thing."""
    module_name, _, attributes = path.partition(":")
    found: Any = import_module(module_name, path)
    for attribute in attributes.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError as error:
            raise InvalidInput(f"{module_name!r} has no {attributes!r}") from error
    return found


def import_module(name: str, path: str) -> ModuleType:
    """Import the module that `path` names. Raises `InvalidInput` when there is no such module."""
    try:
        return importlib.import_module(name)
    except (ImportError, ValueError) as error:
        raise InvalidInput(f"cannot import {name!r} for {path!r}: {error}") from error


def member(module: ModuleType, attributes: str) -> object:
    """Return what the module, or a class in it (`Class.method`), has under a name, without running any code of theirs.

    A `__getattr__` may return or import anything, and so may the attributes of an object or of an imported module:
    these are not looked at. Raises `InvalidInput` when there is no such thing.
    """
    found: object = module
    for number, name in enumerate(attributes.split(".")):
        if number and not issubclass(type(found), type):
            raise InvalidInput(
                f"{module.__name__}:{attributes} leads through a {type(found).__name__}; name a function of a module or"
                " of a class"
            )
        try:
            found = _bound(getattr_static(found, name), found)
        except AttributeError as error:
            raise InvalidInput(f"{module.__name__!r} has no {attributes!r}") from error
    return found


def _bound(found: object, holder: object) -> object:
    """Return the function inside a static method, and a class method bound to its class."""
    if type(found) is staticmethod:
        return found.__func__
    return MethodType(found.__func__, holder) if type(found) is classmethod else found
