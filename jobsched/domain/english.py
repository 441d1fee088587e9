"""Calendars in plain English: lists, ordinals, days and months."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

WEEKDAYS: Final = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
MONTHS: Final = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_ORDINALS: Final = {1: "first", 2: "second", 3: "third", 4: "fourth", 5: "fifth", -1: "last"}


def listed(parts: Sequence[str], *, joined_by: str = "and") -> str:
    """Return `a, b and c`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {joined_by} {parts[-1]}"


def ordinal(number: int) -> str:
    """Return which of several is meant: first, 12th, last, second to last. Negative numbers count from the end."""
    if number in _ORDINALS:
        return _ORDINALS[number]
    if number < 0:
        return f"{ordinal(-number)} to last"
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f"{number}{ending}"


def months(numbers: Iterable[int]) -> str:
    """Return the names of months; January is 1."""
    return listed([MONTHS[number - 1] for number in sorted(numbers)])


def times(hours: Sequence[int], minutes: Sequence[int]) -> str:
    """Return `at 09:00 and 17:00`: every hour with every minute."""
    return f"at {listed([f'{hour:02}:{minute:02}' for hour in hours for minute in minutes])}"
