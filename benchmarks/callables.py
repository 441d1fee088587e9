"""The no-op as our jobs name it: once performed by the slot itself, once in a process of its own."""

from __future__ import annotations

from benchmarks.noop import UNNUMBERED, noop
from jobsched.callables import callable_job


@callable_job("benchmark-noop", in_process=True)
def trusted(path: str, number: int = UNNUMBERED) -> None:
    """Run in the slot."""
    noop(path, number)


def isolated(path: str, number: int = UNNUMBERED) -> None:
    """Run in a process of its own."""
    noop(path, number)
