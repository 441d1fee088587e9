"""The environment that a process was started with, as the kernel keeps and shows it in /proc/PID/environ.

Removing a variable from `os.environ` leaves its text in that memory, in this process and in those forked from it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

_START_FIELD: Final = 50
"""Of /proc/self/stat, counted from 1 as in proc(5): env_start; env_end follows."""
_FIRST_AFTER_NAME: Final = 3


def overwrite_values(chosen: Callable[[str, str], bool]) -> None:
    """Overwrite with NUL the value of each variable for which `chosen(name, value)` is true."""
    start, end = _bounds()
    at = start
    for entry in ctypes.string_at(start, end - start).split(b"\0"):
        name, equals, value = entry.partition(b"=")
        if equals and chosen(name.decode(errors="surrogateescape"), value.decode(errors="surrogateescape")):
            ctypes.memset(at + len(name) + 1, 0, len(value))
        at += len(entry) + 1


@cache
def _bounds() -> tuple[int, int]:
    """Return where the memory begins and ends: at the same addresses in every process that is forked from this one."""
    # The name of the program is in parentheses, and may contain spaces and parentheses.
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    first = _START_FIELD - _FIRST_AFTER_NAME
    return int(fields[first]), int(fields[first + 1])
