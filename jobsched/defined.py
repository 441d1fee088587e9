"""Where the code of a callable comes from."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import FunctionType, MethodType
from typing import Final

_MOST_WRAPPERS: Final = 50


def is_defined_in(found: object, allows: Callable[[str], bool]) -> bool:
    """Tell whether `found` is a Python function that is defined in a module that `allows` accepts.

    `__module__` alone proves nothing: it can be assigned, and `functools.wraps` copies it to a wrapper. The globals of
    a function are those of the module whose code it is. Both must be of an allowed module, except in a decorated
    function: the wrapper may be any library's if it holds the decorated function. Of a method or a `partial`, the
    function counts. Classes, builtins and other objects that can be called are never accepted.
    """
    for _ in range(_MOST_WRAPPERS):
        if type(found) is partial:
            found = found.func
        elif type(found) is MethodType:
            found = found.__func__
        elif type(found) is not FunctionType or not _accepted(found.__module__, allows):
            return False
        elif _accepted(found.__globals__.get("__name__"), allows):
            return True
        else:
            found = _decorated(found)
    return False


def _accepted(module: object, allows: Callable[[str], bool]) -> bool:
    return isinstance(module, str) and allows(module)


def _decorated(wrapper: FunctionType) -> object:
    """Return the function that a decorator was applied to, or None when `wrapper` is not made by a decorator.

    `functools.wraps` can be applied to any function, e.g. to one of the standard library; only a real wrapper refers
    to what it wraps.
    """
    wrapped = vars(wrapper).get("__wrapped__")
    return wrapped if any(_content(cell) is wrapped for cell in wrapper.__closure__ or ()) else None


def _content(cell: object) -> object:
    try:
        return cell.cell_contents  # type: ignore[attr-defined]  # types.CellType hides what it is generic in
    except ValueError:  # empty
        return _EMPTY


_EMPTY: Final = object()
