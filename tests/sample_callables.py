"""Python callables that tests run as jobs."""

from __future__ import annotations

import time

from jobsched.callables import callable_job


def add(a: int, b: int) -> dict[str, int]:
    print(f"adding {a} and {b}")
    return {"sum": a + b}


def explode() -> None:
    raise ValueError("boom \x00 with a NUL")


@callable_job("sample.trusted", in_process=True)
def trusted(n: int = 0) -> int:
    return n + 1


@callable_job("sample.trusted-slow", in_process=True)
def trusted_slow(seconds: float) -> str:
    time.sleep(seconds)
    return "slept"


@callable_job("sample.trusted-broken", in_process=True)
def trusted_broken() -> None:
    raise ConnectionError("no route")
