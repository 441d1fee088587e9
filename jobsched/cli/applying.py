"""What is shown while the server applies a file, and what is worked out here meanwhile."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self

import click

from jobsched.cli.files import CheckedFile
from jobsched.cli.preview import warnings_of
from jobsched.cli.terminal import plain, say

_QUIET_SECONDS: Final = 10.0
"""How often progress is printed where lines cannot be overwritten."""
_CLEAR_LINE: Final = "\r\x1b[K"


class ProgressLine:
    """Shows how many jobs of a file are checked: in one line of a terminal, elsewhere in a line now and then."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._overwrites = sys.stderr.isatty()
        self._shown = False
        self._next_at = time.monotonic() + _QUIET_SECONDS

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown:
            click.echo(_CLEAR_LINE, err=True, nl=False)

    def __call__(self, checked: int, total: int) -> None:
        """Show progress. `total` is 0 before the server has read the file."""
        text = f"{self._name}: {checked} of {total} jobs checked" if total else f"{self._name}: waiting for the server"
        if self._overwrites:
            click.echo(_CLEAR_LINE + plain(text), err=True, nl=False)
            self._shown = True
        elif time.monotonic() >= self._next_at:
            say(text)
            self._next_at = time.monotonic() + _QUIET_SECONDS


def warnings_meanwhile(file: CheckedFile) -> Callable[[], list[str]]:
    """Begin to work out what clock changes move. Return what waits for the sentences and returns them."""
    found: list[str] = []

    def work() -> None:
        now = datetime.now(UTC)
        for job in file.jobs:
            found.extend(f"{file.name}: job '{job.name}': {sentence}" for sentence in warnings_of(job, now=now))

    # As a daemon it holds nobody up who presses Ctrl-C.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()

    def wait() -> list[str]:
        thread.join()
        return found

    return wait
