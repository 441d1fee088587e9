"""Python callables that tests run as jobs."""

from __future__ import annotations

import atexit
import threading
import time
from pathlib import Path

from django.db import connection

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


def leave_thread(path: str) -> None:
    """Returns while a thread of it works, and registers an exit hook."""

    def work() -> None:
        time.sleep(0.5)
        Path(path).write_text("thread\n")

    def hook() -> None:
        with Path(path).open("a") as file:
            file.write("hook\n")

    atexit.register(hook)
    threading.Thread(target=work).start()


@callable_job("sample.trusted-thread", in_process=True)
def trusted_thread(path: str) -> None:
    leave_thread(path)


def ask_database(seconds: float = 0) -> int:
    """Use Django's connection, and keep it for a while."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        [found] = cursor.fetchone()
    time.sleep(seconds)
    return int(found)


@callable_job("sample.trusted-asks", in_process=True)
def trusted_asks() -> int:
    return ask_database()
