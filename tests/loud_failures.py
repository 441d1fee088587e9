"""Python callables and Celery tasks that fail with texts which are too long or cannot be made."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NoReturn

from celery import shared_task

from jobsched.callables import callable_job
from jobsched.domain.errors import DoNotRetry, RetryAfter

LONG = 1_100_000
"""Characters: more than fits into the message of a run to its slot."""


class Refused(Exception):
    """What the tests' retry rules name."""


class RaisingText(Refused):
    def __str__(self) -> str:
        raise SystemExit("no text")


class TextlessText(Refused):
    def __str__(self) -> str:
        return 5  # type: ignore[return-value]  # noqa: PLE0307


class _OwnText(str):
    def __format__(self, spec: str) -> str:
        raise RuntimeError("no format")

    def __len__(self) -> int:
        raise RuntimeError("no length")

    def __getitem__(self, key: Any) -> str:
        raise RuntimeError("no part")


class SubclassText(Refused):
    def __str__(self) -> str:
        return _OwnText("of a class of its own")


LongName = type("Long" * 100_000, (Refused,), {})


def long_text() -> NoReturn:
    raise Refused("begin " + "x" * LONG + " end")


def wide_text() -> NoReturn:
    raise Refused("\U0001f600" * LONG)


def surrogates() -> NoReturn:
    raise Refused("half \ud800 of a pair " * 100_000)


def nuls() -> NoReturn:
    raise Refused("\0" * LONG)


def raising_text() -> NoReturn:
    raise RaisingText


def textless_text() -> NoReturn:
    raise TextlessText


def subclass_text() -> NoReturn:
    raise SubclassText


def long_name() -> NoReturn:
    raise LongName("x")


def closed_output() -> NoReturn:
    class Closed:
        def write(self, text: str) -> int:
            raise ValueError("closed")

        def flush(self) -> None:
            raise ValueError("closed")

    sys.stderr = Closed()  # type: ignore[assignment]
    raise Refused("said to nobody")


RETRIED: dict[str, Callable[[], NoReturn]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        long_text,
        wide_text,
        surrogates,
        nuls,
        raising_text,
        textless_text,
        subclass_text,
        long_name,
        closed_output,
    )
}
"""Failures with errors that are derived from `Refused`."""


def long_exit() -> NoReturn:
    sys.exit("x" * LONG)  # type: ignore[arg-type]


def raising_exit() -> NoReturn:
    sys.exit(RaisingText())  # type: ignore[arg-type]


def long_refusal() -> NoReturn:
    raise DoNotRetry("x" * LONG)


def long_wait() -> NoReturn:
    raise RetryAfter(7, "x" * LONG)


def endless_wait() -> NoReturn:
    raise RetryAfter(float("inf"), "later")


OTHERS: dict[str, Callable[[], NoReturn]] = {
    function.__name__.replace("_", "-"): function
    for function in (long_exit, raising_exit, long_refusal, long_wait, endless_wait)
}

for name, function in {**RETRIED, **OTHERS}.items():
    callable_job(f"loud.{name}")(function)
    callable_job(f"loud.trusted-{name}", in_process=True)(function)
    shared_task(name=f"loud.{name}")(function)
