"""Kinds of jobs by name, and the Python callables that jobs may name. Nothing is imported before it is needed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from jobsched.callables import JobCallable, callable_job, resolve
from jobsched.domain.errors import InvalidInput
from jobsched.loading import load

if TYPE_CHECKING:
    from jobsched.executor import Executor

__all__ = ["JobCallable", "callable_job", "executor", "kinds", "preload", "register", "resolve"]

_paths: dict[str, str] = {
    "shell": "jobsched.executors.shell:ShellExecutor",
    "steps": "jobsched.executors.steps:StepsExecutor",
    "http": "jobsched.executors.http:HttpExecutor",
    "python": "jobsched.executors.python:PythonExecutor",
}
_executors: dict[str, Executor] = {}


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
        known = _executors[kind] = load(_paths[kind])()
    return known


def preload() -> None:
    """Import every executor now, so that processes forked from this one need not.

    One that cannot be imported is left to say so to the job that wants it.
    """
    for kind in _paths:
        with contextlib.suppress(InvalidInput):
            executor(kind)
