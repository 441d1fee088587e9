"""The Python callables that jobs may name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from inspect import signature
from typing import Any, Final, TypeVar

from jobsched.allowed_modules import AllowedModules, is_forbidden
from jobsched.defined import is_defined_in
from jobsched.domain.errors import InvalidInput
from jobsched.domain.outcomes import Assignment
from jobsched.loading import import_module, member

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

    A module is imported only if it is allowed. Raises `InvalidInput` for what does not exist, cannot be imported or
    is not allowed, and whatever an allowed module raises while it is imported.
    """
    found = _resolved.get(call)
    if found is None:
        found = _resolved[call] = _registered.get(call) or _find(call)
    return found


def allow(modules: Callable[[], AllowedModules]) -> None:
    """Let jobs call functions of the modules that `modules` returns; it is asked once, when the first job needs it."""
    _policy.modules = cache(modules)
    _resolved.clear()


def allowed_modules() -> AllowedModules:
    """Return the modules whose functions jobs may call without registration: none until `allow` names some."""
    return _policy.modules()


class _Policy:
    """Which modules are allowed; replaced as a whole."""

    def __init__(self) -> None:
        self.modules: Callable[[], AllowedModules] = AllowedModules


_policy: Final = _Policy()


def _find(call: str) -> JobCallable:
    if ":" not in call:
        raise InvalidInput(
            f"no callable is registered as {call!r}; import the module that registers it when the worker starts,"
            " or write package.module:function"
        )
    module, _, attributes = call.partition(":")
    if not allowed_modules().allows(module):
        raise _not_allowed(
            call,
            "no job may call functions of the standard library, Django, Celery or jobsched"
            if is_forbidden(module)
            else f"the module {module!r} is none whose functions jobs may call",
        )
    function = member(import_module(module, call), attributes)
    if not callable(function):
        raise InvalidInput(f"{call} is a {type(function).__name__}, which cannot be called")
    try:
        registered = _by_function.get(function)
    except TypeError:  # a callable that cannot be hashed was never registered
        registered = None
    if registered:
        return registered
    if not is_defined_in(function, allowed_modules().allows):
        raise _not_allowed(call, f"it is not a function that is defined in {module!r} or in another allowed module")
    return JobCallable(call, function)


def _not_allowed(call: str, why: str) -> InvalidInput:
    return InvalidInput(
        f"{call!r} is not allowed: {why}; name {allowed_modules().in_words()}, or allow more with @callable_job or"
        " JOBSCHED_CALLABLE_MODULES"
    )
