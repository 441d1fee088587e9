"""The Python callables that jobs may name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from inspect import signature
from typing import Any, TypeVar

from jobsched.domain.errors import InvalidInput
from jobsched.domain.outcomes import Assignment
from jobsched.loading import load

_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class JobCallable:
    """A Python function that jobs may call."""

    name: str
    function: Callable[..., Any]
    in_process: bool = False
    """Trusted to run inside the worker slot itself, without a process of its own."""

    def __call__(self, **params: Any) -> Any:
        return self.function(**params)


_registered: dict[str, JobCallable] = {}
_by_function: dict[Callable[..., Any], JobCallable] = {}
_resolved: dict[str, JobCallable] = {}


def callable_job(name: str, *, in_process: bool = False) -> Callable[[_Function], _Function]:
    """Register a function under a name that jobs may use in `call`; the function itself is unchanged.

    Registering a name again replaces it, so that a module may be reloaded.
    """

    def decorate(function: _Function) -> _Function:
        entry = JobCallable(name, function, in_process)
        _registered[name] = _by_function[function] = entry
        _resolved.clear()
        return function

    return decorate


def accepted(function: Callable[..., Any], work: Assignment) -> dict[str, Any]:
    """Return the parameters to call a function with: the run's instant, `scheduled_for`, only if it names that."""
    if work.scheduled_for is None:
        return work.params
    try:
        named = _names_the_instant(function)
    except TypeError:  # it cannot be hashed
        named = _names_the_instant.__wrapped__(function)
    return work.all_params if named else work.params


@lru_cache(maxsize=1024)
def _names_the_instant(function: Callable[..., Any]) -> bool:
    try:
        return "scheduled_for" in signature(function).parameters
    except (TypeError, ValueError):  # written in C, and silent about what it takes
        return False


def resolve(call: str) -> JobCallable:
    """Return the callable that a registered name or `package.module:function` stands for.

    Raises `InvalidInput` when it does not exist or its module cannot be imported.
    """
    found = _resolved.get(call)
    if found is None:
        found = _resolved[call] = _registered.get(call) or _find(call)
    return found


def _find(call: str) -> JobCallable:
    if ":" not in call:
        raise InvalidInput(
            f"no callable is registered as {call!r}; import the module that registers it when the worker starts,"
            " or write package.module:function"
        )
    function = load(call)
    if not callable(function):
        raise InvalidInput(f"{call} is a {type(function).__name__}, which cannot be called")
    try:
        return _by_function.get(function) or JobCallable(call, function)
    except TypeError:  # a callable that cannot be hashed was never registered
        return JobCallable(call, function)
