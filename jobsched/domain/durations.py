"""Lengths of time as people write them: `90s`, `1h30m`, `500ms`. Milliseconds are the finest unit."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import timedelta
from typing import Final

from jobsched.domain.errors import InvalidInput

LONGEST: Final = timedelta(days=3650)
"""Ten years: longer is a slip of the pen, and would overflow dates further on."""

_UNITS: Final = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}
_NAMES: Final = {"d": "day", "h": "hour", "m": "minute", "s": "second", "ms": "millisecond"}
_EXPECTED: Final = "write a number and a unit (d, h, m, s or ms), largest first, such as 90s or 1h30m"

PATTERN: Final = r"(?=\d)(?:\d{1,9}d)?(?:\d{1,9}h)?(?:\d{1,9}m(?!s))?(?:\d{1,9}s)?(?:\d{1,12}ms)?"
"""The syntax, as a regular expression for the whole text."""
_SYNTAX: Final = re.compile(PATTERN, re.ASCII)
_PART: Final = re.compile(r"(\d+)(ms|[dhms])", re.ASCII)


def parse(value: str | float | timedelta) -> timedelta:
    """Return the length of time that a text, a number of seconds or a timedelta stands for.

    Text of digits only counts seconds too. Raises `InvalidInput` for anything else, for a negative one
    and for more than ten years.
    """
    length = _read(value)
    if length < timedelta(0):
        raise InvalidInput(f"{value!r} is negative; a duration is zero or longer")
    if length > LONGEST:
        raise InvalidInput(f"{value!r} is longer than ten years ({LONGEST.days}d), the longest duration")
    return length


def _read(value: str | float | timedelta) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and value == value:
        # Bounded before it becomes a timedelta, which refuses large numbers with an error of its own.
        bounded = max(-1, min(value, LONGEST.days * 86400 + 1))
        return timedelta(milliseconds=round(bounded * 1000))
    if isinstance(value, str):
        text = value.strip()
        if re.fullmatch(r"\d{1,12}", text, re.ASCII):
            return _read(int(text))
        if _SYNTAX.fullmatch(text):
            with suppress(OverflowError):
                return sum((int(n) * _UNITS[unit] for n, unit in _PART.findall(text)), timedelta(0))
            return LONGEST + _UNITS["d"]  # too long in any case
    raise InvalidInput(f"{value!r} is not a duration; {_EXPECTED}")


def to_text(length: timedelta) -> str:
    """Return the text that `parse` reads back, rounded to milliseconds: `1h30m`."""
    return "".join(f"{count}{unit}" for count, unit in _split(length)) or "0s"


def words(length: timedelta) -> str:
    """Return a length of time in plain English: `90 seconds`, `1 hour 1 second`."""
    parts = _split(length)
    if len(parts) > 1:
        _, smallest = parts[-1]
        # "90 seconds" reads better than "1 minute 30 seconds"; "3661 seconds" does not.
        count = length // _UNITS[smallest]
        if count < 100:
            parts = [(count, smallest)]
    return " ".join(f"{n} {_NAMES[unit]}{'' if n == 1 else 's'}" for n, unit in parts) or "0 seconds"


def _split(length: timedelta) -> list[tuple[int, str]]:
    left = timedelta(milliseconds=round(length / _UNITS["ms"]))
    parts = []
    for unit, size in _UNITS.items():
        count, left = divmod(left, size)
        if count:
            parts.append((count, unit))
    return parts
