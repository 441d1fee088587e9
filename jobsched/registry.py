"""Kinds of jobs by name, and the Python callables that jobs may name. Nothing is imported before it is needed."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from jobsched.domain.errors import InvalidInput

if TYPE_CHECKING:
    from jobsched.executors.base import Executor

_Function = TypeVar("_Function", bound=Callable[..., Any])

_paths: dict[str, str] = {
    "shell": "jobsched.executors.shell:ShellExecutor",
    "steps": "jobsched.executors.steps:StepsExecutor",
    "http": "jobsched.executors.http:HttpExecutor",
    "python": "jobsched.executors.python:PythonExecutor",
}
_executors: dict[str, Executor] = {}


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


def register(kind: str, path: str) -> None:
    """Add a kind of job, or replace one. `path` is `package.module:Class`, imported at first use."""
    _paths[kind] = path
    _executors.pop(kind, None)


def kinds() -> tuple[str, ...]:
    """Return the names of all kinds."""
    return tuple(_paths)


def executor(kind: str) -> Executor:
    """Return the executor of a kind. Raises `InvalidInput` when there is none or it cannot be imported."""
    known = _executors.get(kind)
    if known is None:
        if kind not in _paths:
            raise InvalidInput(f"there is no kind of job named {kind!r}; known are {', '.join(sorted(_paths))}")
        known = _executors[kind] = _import(_paths[kind])()
    return known


def preload() -> None:
    """Import every executor now, so that processes forked from this one need not.

    One that cannot be imported is left to say so to the job that wants it.
    """
    for kind in _paths:
        with contextlib.suppress(InvalidInput):
            executor(kind)


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
    function = _import(call)
    if not callable(function):
        raise InvalidInput(f"{call} is a {type(function).__name__}, which cannot be called")
    try:
        return _by_function.get(function) or JobCallable(call, function)
    except TypeError:  # a callable that cannot be hashed was never registered
        return JobCallable(call, function)


def _import(path: str) -> Any:
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
