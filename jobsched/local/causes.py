"""Why a local stack could not start, in one sentence: what is wrong, where, and what to do."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from jobsched.domain.errors import JobschedError

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_FULL_TEXT: Final = re.compile(r"No space left on device|Disk quota exceeded|\benospc\b|\bedquot\b", re.IGNORECASE)
_NO_ROOM_BYTES: Final = 64 * 1024
"""What is left of a disk that is full: file systems keep some blocks for themselves."""
_LOG_BYTES: Final = 256 * 1024
"""How much of the end of a log is read."""
_TELLING: Final = re.compile(
    r"\b(?:FATAL|PANIC|ERROR|CRITICAL)\b"
    r"|^[\w.]*(?:Error|Exception|Exit|Improperly\w+)\b"
    r"|^\S+: \([\w.]+\.E\d+\) "  # an error of Django's system check
)


def cause_in(log: str) -> str:
    """Return the line of a log that says best why its process ended.

    That is one that names a full disk, the cause of what follows it; else the last one that names an error, with which
    the stack trace of a Python program ends; else the last.
    """
    lines = [line.strip() for line in log.splitlines() if line.strip() and not line.startswith((" ", "\t"))]
    full = [line for line in lines if _FULL_TEXT.search(line)]
    telling = [line for line in lines if _TELLING.search(line)]
    return (full or telling or lines or ["it wrote nothing"])[-1]


def sentence(error: JobschedError | OSError, data: Path | None, *, since: float = 0.0) -> str:
    """Return what to tell the user of an error that ended a command on the data folder `data`.

    Logs that were last written before `since`, a moment as `time.time` counts, are of earlier commands.
    """
    if data is not None and (_says_full(error) or _is_full(data) or _logs_say_full(data / "log", since)):
        return (
            f"The disk of {data} is full: make room on it and run the command again, which continues where this one "
            f"ended; the logs are in {data / 'log'}."
        )
    if isinstance(error, JobschedError):
        return str(error)
    return f"{_place(error)}: {error.strerror or error}; correct that, or use another folder with --data."


def _place(error: OSError) -> str:
    return f"{error.filename} cannot be used" if error.filename else "The command cannot go on"


def _says_full(error: JobschedError | OSError) -> bool:
    number = error.errno if isinstance(error, OSError) else None
    return number in _FULL or _FULL_TEXT.search(str(error)) is not None


def _is_full(folder: Path) -> bool:
    nearest = next((place for place in (folder, *folder.parents) if place.exists()), None)
    try:
        return nearest is not None and shutil.disk_usage(nearest).free < _NO_ROOM_BYTES
    except OSError:
        return False


def _logs_say_full(logs: Path, since: float) -> bool:
    """Tell whether a log says so: PostgreSQL may have ended for it, and what its clients report is something else."""
    return any(_FULL_TEXT.search(text) for text in _ends(logs.glob("*.log"), since))


def _ends(logs: Iterable[Path], since: float) -> Iterable[str]:
    for log in logs:
        with suppress(OSError), log.open("rb") as file:
            status = log.stat()
            if status.st_mtime >= since:
                file.seek(max(0, status.st_size - _LOG_BYTES))
                yield file.read().decode(errors="replace")
