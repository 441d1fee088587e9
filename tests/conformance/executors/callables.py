"""Python callables that stand in for a project's own code."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from jobsched.domain.errors import CancelRequested, DoNotRetry, RetryAfter, TimeLimitExceeded


def greet(name: str = "world") -> dict[str, str]:
    print(f"hello {name}")
    return {"greeting": f"hello {name}"}


def touch(path: str) -> None:
    Path(path).touch()


def fail() -> None:
    raise ValueError("the disk is full")


def wait(seconds: float = 60.0) -> str:
    print("waiting", flush=True)
    time.sleep(seconds)
    return "waited"


def tidy_up_when_asked_to_end() -> None:
    try:
        time.sleep(60)
    except (TimeLimitExceeded, CancelRequested) as error:
        print(f"tidied after {type(error).__name__}")
        raise


def run_command(command: str) -> None:
    subprocess.run(command, shell=True, check=True)


def leave_behind(marker: str) -> None:
    subprocess.Popen(["sleep", marker], start_new_session=True)


def exit_hard(code: int) -> None:
    os._exit(code)


def exit_politely(code: int) -> None:
    sys.exit(code)


def give_up() -> None:
    raise DoNotRetry("the account is closed")


def come_back(seconds: float) -> None:
    raise RetryAfter(seconds)


def return_a_set() -> set[int]:
    return {1}


def return_much() -> str:
    return "x" * 2_000_000


def return_nul() -> dict[str, str]:
    return {"a\0b": "c\0d\ud800"}


def fork_and_return() -> str:
    return "child" if os.fork() == 0 else "parent"


def own_descriptors() -> list[str]:
    """Return what each open descriptor of this process is, but for /dev/null."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:  # the descriptor that lists the folder
            continue
        if target != "/dev/null" and int(entry.name) > 2:
            found.append(target)
    return found


def random_number() -> float:
    import random

    return random.random()


def told_by_hook() -> str:
    return os.environ.get("HOOK_CALLED", "")


def end_by_signal(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(60)


def fill_memory() -> None:
    kept = []
    while True:
        kept.append(bytearray(os.urandom(1024)) * 4096)
