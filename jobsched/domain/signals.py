"""Signals that end processes: their names, and the exit codes that stand for them."""

from __future__ import annotations

import signal
from typing import Final

from jobsched.domain.errors import InvalidInput

OFFSET: Final = 128
"""Shells report a command that was ended by signal n with the exit code 128 + n; so does every kind of job here."""


def signal_name(number: int) -> str:
    """Name a signal for a sentence: `signal 9 (SIGKILL)`."""
    name = short_name(number)
    return f"signal {number} ({name})" if name.startswith("SIG") else name


def short_name(number: int) -> str:
    """Name a signal for a table: `SIGKILL`."""
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals between SIGRTMIN and SIGRTMAX have no name
        return f"signal {number}"


def exit_code_of(number: int) -> int:
    """Return the exit code that stands for an end by this signal: 137 for SIGKILL."""
    return OFFSET + number


def reported_by_shell(exit_code: int) -> int | None:
    """Return the signal that an exit code of a shell stands for: 9 for 137; None when it stands for none."""
    number = exit_code - OFFSET
    return number if number in signal.valid_signals() else None


def parse(text: str) -> int:
    """Return the number of a signal written as `9`, `KILL` or `SIGKILL`. Raises InvalidInput."""
    word = text.strip().upper()
    if word.isascii() and word.isdigit() and len(word) < 3 and int(word) in signal.valid_signals():
        return int(word)
    name = word if word.startswith("SIG") else f"SIG{word}"
    if name in signal.Signals.__members__:
        return signal.Signals[name].value
    raise InvalidInput(f"{text[:40]!r} is not a signal; write its number or its name, such as 9, KILL or SIGKILL.")
