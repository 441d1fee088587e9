"""The file that `JOBSCHED_RETRY` names, in which a command says when it is to be tried again, or that it is not.

A line with `never`, a duration such as `90s`, or a moment with its offset such as `2026-12-01T03:00:00Z`. The last
line counts, so that what a later step writes does.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from jobsched.domain import durations
from jobsched.domain.errors import InvalidInput
from jobsched.domain.outcomes import Outcome, Verdict

VARIABLE: Final = "JOBSCHED_RETRY"
_NEVER: Final = "never"
_MOST: Final = 4096
"""Bytes that are read of its end: the command may have written anything."""


def file_beside(folder: Path) -> Path:
    """Return the file of an attempt that works in `folder`. It is kept when the folder is removed."""
    return folder.with_name(f"{folder.name}.retry")


def make_writable_by_all(file: Path) -> None:
    """Make the empty file for a run that has another user. No other user can list its folder to find its name."""
    descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        os.fchmod(descriptor, 0o622)
    finally:
        os.close(descriptor)


def applied(outcome: Outcome, file: Path) -> Outcome:
    """Return the outcome with what the file says, if the work failed; remove the file."""
    line = _taken(file)
    if line is None or outcome.verdict not in (Verdict.FAILED, Verdict.TIMED_OUT):
        return outcome
    try:
        seconds = _seconds(line)
    except ValueError as error:
        return replace(outcome, reason=f"{outcome.reason}; what it wrote to ${VARIABLE} is ignored: {error}")
    if seconds is None:
        return replace(outcome, no_retry=True)
    return replace(outcome, retry_after_seconds=seconds)


def forget(file: Path) -> None:
    """Remove the file, whatever it is. A folder goes with the slot's own."""
    with suppress(OSError):
        file.unlink()


def _taken(file: Path) -> str | None:
    """Return the last line of a plain file and remove it. Neither a link is followed nor a pipe waited for."""
    try:
        text = _end_of(file)
    except FileNotFoundError:  # most write none
        return None
    except OSError:
        text = ""
    forget(file)
    return next((line.strip() for line in reversed(text.split("\n")) if line.strip()), None)


def _end_of(file: Path) -> str:
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            return ""
        os.lseek(descriptor, max(0, about.st_size - _MOST), os.SEEK_SET)
        return os.read(descriptor, _MOST).decode("utf-8", "replace")
    finally:
        os.close(descriptor)


def _seconds(line: str) -> float | None:
    """Return how long to wait, or None for work that is not to be tried again. Raises ValueError."""
    if line.lower() == _NEVER:
        return None
    try:
        moment = datetime.fromisoformat(line)
    except ValueError:
        pass
    else:
        if moment.tzinfo is not None:
            return max(0.0, (moment - datetime.now(UTC)).total_seconds())
    try:
        return durations.parse(line).total_seconds()
    except InvalidInput:
        raise ValueError(
            f"{line!r:.80} is none of `never`, a duration such as 90s, and a moment such as 2026-12-01T03:00:00Z"
        ) from None
