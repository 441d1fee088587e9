"""Python callables that end in every awkward way there is. Each may be performed in the slot or in a process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from jobsched.callables import callable_job
from jobsched.domain.errors import RetryAfter


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Misnamed(Exception):
    pass


Misnamed.__module__ = "half \ud800 and nul \0"


def huge_number() -> int:
    return 10**5000


def huge_exit_code() -> NoReturn:
    sys.exit(2**40)


def mute_error() -> NoReturn:
    raise Mute


def misnamed_error() -> NoReturn:
    raise Misnamed("x")


def cancelled_by_itself() -> NoReturn:
    raise asyncio.CancelledError("a coroutine was cancelled")


def retry_after_text() -> NoReturn:
    raise RetryAfter("soon", "come back")  # type: ignore[arg-type]


def escaped_nul() -> str:
    return "write \\u0000 for NUL, \\ud800 for half a pair"


def unstorable_text() -> dict[str, list[str]]:
    return {"a\0b": ["\ud800", "\U0001f600", "\\\0"]}


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(600):
        value = [value]
    return value


def too_deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(50_000):
        value = [value]
    return value


def somewhat_too_deep() -> list[Any]:
    """Nest so deep that Python can write it where few functions are on the stack, and cannot read it elsewhere."""
    value: list[Any] = []
    for _ in range(800):
        value = [value]
    return value


def not_a_number() -> float:
    return float("nan")


HOSTILE: dict[str, Callable[[], Any]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        huge_number,
        huge_exit_code,
        mute_error,
        misnamed_error,
        cancelled_by_itself,
        retry_after_text,
        escaped_nul,
        unstorable_text,
        deep,
        too_deep,
        somewhat_too_deep,
        not_a_number,
    )
}

for name, function in HOSTILE.items():
    callable_job(f"hostile.{name}")(function)
    callable_job(f"hostile.trusted-{name}", in_process=True)(function)
