"""The job that does nothing, and the note it leaves. Every contender performs this very function.

The note is the measurement: sixteen bytes appended to a file say which job it was and when it began, on the
monotonic clock, which all processes of a machine share. It costs about a microsecond, the same for all.
"""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

_NOTE = struct.Struct("=iiq")

UNNUMBERED = -1
"""The number of a job that is one of a backlog."""

_open_files: dict[str, int] = {}


def noop(path: str, number: int = UNNUMBERED) -> None:
    """Note in the file `path` that job `number` began now, in this process."""
    began_ns = time.monotonic_ns()
    file = _open_files.get(path)
    if file is None:
        file = _open_files[path] = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.write(file, _NOTE.pack(number, os.getpid(), began_ns))


class Notes:
    """The file of notes, seen from the side that measures."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def clear(self) -> None:
        """Forget all notes. No job may be under way."""
        os.truncate(self.path, 0)

    def count(self) -> int:
        """Return how many jobs have begun."""
        return self.path.stat().st_size // _NOTE.size

    def began_ns(self) -> dict[int, int]:
        """Return when each numbered job began."""
        return {number: began for number, _, began in self._read() if number != UNNUMBERED}

    def first_and_last_ns(self) -> tuple[int, int]:
        """Return when the first and the last job began. There must be one."""
        began = [note[2] for note in self._read()]
        return min(began), max(began)

    def processes(self) -> set[int]:
        """Return the process numbers the jobs ran in, as those processes see themselves."""
        return {process for _, process, _ in self._read()}

    def _read(self) -> list[tuple[int, int, int]]:
        return list(_NOTE.iter_unpack(self.path.read_bytes()))
