"""Crontabs in plain English, for shapes that a sentence says exactly; other shapes have no words.

The words come from the numbers that the fields stand for and not from their text: `*/31` in the minutes is 0 and 31,
which is not "every 31 minutes".
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from jobsched.domain import english
from jobsched.domain.cronfields import DAY_OF_MONTH, DAY_OF_WEEK, HOUR, MINUTE, MONTH

_MOST_TIMES: Final = 4
_MOST_LISTED: Final = 6


def times(hours: Sequence[int], minutes: Sequence[int]) -> str | None:
    """Return `at 09:00 and 17:00` or `every 15 minutes from 09:00 to 17:45`; None where no short sentence says it."""
    if len(hours) * len(minutes) <= _MOST_TIMES:
        return english.times(hours, minutes)
    if len(hours) == len(HOUR.full):
        return _of_every_hour(minutes)
    if len(minutes) == 1:
        return _by_the_hour(hours, minutes[0])
    return _in_a_stretch(hours, minutes)


def days(day_numbers: Sequence[int], weekdays: Sequence[int]) -> str | None:
    """Return `on day 13 of the month if that is a Friday`: a day must be in both. Empty when all days are meant.

    None where no short sentence says it. Sunday is 0.
    """
    of_month = None if len(day_numbers) == len(DAY_OF_MONTH.full) else _month_days(day_numbers)
    if of_month is None and len(day_numbers) != len(DAY_OF_MONTH.full):
        return None
    if len(weekdays) == len(DAY_OF_WEEK.full):
        return "" if of_month is None else f"on {of_month} of the month"
    if of_month is None:
        return _week_days(weekdays)
    names = english.listed([english.WEEKDAYS[day] for day in _from_monday(weekdays)], joined_by="or")
    return f"on {of_month} of the month if that is a {names}"


def months(numbers: Sequence[int]) -> str:
    """Return `in January and July`; empty when all months are meant."""
    if len(numbers) == len(MONTH.full):
        return ""
    if len(numbers) > 2 and _step(numbers) == 1:
        return f"from {english.MONTHS[numbers[0] - 1]} to {english.MONTHS[numbers[-1] - 1]}"
    return f"in {english.months(numbers)}"


def sentence(
    minutes: Sequence[int],
    hours: Sequence[int],
    day_numbers: Sequence[int],
    month_numbers: Sequence[int],
    weekdays: Sequence[int],
) -> str | None:
    """Return when all five fields match, such as `at 02:00 from Monday to Friday`, or None. Numbers are in order."""
    time, day = times(hours, minutes), days(day_numbers, weekdays)
    if time is None or day is None:
        return None
    return joined(time, day or ("every day" if _needs_a_day(time) else ""), months(month_numbers))


def joined(time: str, day: str, month: str) -> str:
    """Return a sentence of its parts, some of which may be empty."""
    comma = "," if day.startswith("from ") else ""
    return " ".join(part for part in (time + comma, day, month) if part)


def _needs_a_day(time: str) -> bool:
    """Tell whether a time of the day alone would leave open on which days it comes."""
    return " of every hour" not in time and (time.startswith("at ") or " from " in time)


def _of_every_hour(minutes: Sequence[int]) -> str | None:
    if len(minutes) == len(MINUTE.full):
        return "every minute"
    if step := _round_the_clock(minutes):
        return f"every {step} minutes"
    if len(minutes) <= _MOST_LISTED:
        return f"at {_minutes(minutes)} of every hour"
    if step := _step(minutes):
        every = "every minute" if step == 1 else f"every {step} minutes"
        return f"{every} from minute {minutes[0]} to minute {minutes[-1]} of every hour"
    return None


def _by_the_hour(hours: Sequence[int], minute: int) -> str | None:
    if step := _step(hours):
        every = "every hour" if step == 1 else f"every {step} hours"
        return f"{every} from {hours[0]:02}:{minute:02} to {hours[-1]:02}:{minute:02}"
    return english.times(hours, [minute]) if len(hours) <= _MOST_LISTED else None


def _in_a_stretch(hours: Sequence[int], minutes: Sequence[int]) -> str | None:
    """Say what comes in hours that follow each other, by the first and the last time."""
    if len(hours) > 1 and _step(hours) != 1:
        return None
    stretch = f"from {hours[0]:02}:{minutes[0]:02} to {hours[-1]:02}:{minutes[-1]:02}"
    if len(minutes) == len(MINUTE.full):
        return f"every minute {stretch}"
    step = _step(minutes) if len(hours) == 1 else _round_the_clock(minutes, from_any=True)
    if step:
        return f"every {'minute' if step == 1 else f'{step} minutes'} {stretch}"
    return f"at {_minutes(minutes)} of every hour {stretch}" if len(minutes) <= _MOST_LISTED else None


def _minutes(minutes: Sequence[int]) -> str:
    return f"minute{'s' if len(minutes) > 1 else ''} {english.listed([str(minute) for minute in minutes])}"


def _month_days(numbers: Sequence[int]) -> str | None:
    if len(numbers) > 2 and (step := _step(numbers)) and (step == 1 or len(numbers) > _MOST_LISTED):
        return f"days {numbers[0]} to {numbers[-1]}" + ("" if step == 1 else f" in steps of {step}")
    if len(numbers) > _MOST_LISTED:
        return None
    return f"day{'s' if len(numbers) > 1 else ''} {english.listed([str(number) for number in numbers])}"


def _week_days(weekdays: Sequence[int]) -> str:
    ordered = _from_monday(weekdays)
    if len(ordered) > 2 and _step([(day - 1) % 7 for day in ordered]) == 1:
        return f"from {english.WEEKDAYS[ordered[0]]} to {english.WEEKDAYS[ordered[-1]]}"
    return f"on {english.listed([english.WEEKDAYS[day] for day in ordered])}"


def _from_monday(weekdays: Sequence[int]) -> list[int]:
    return sorted(weekdays, key=lambda day: (day - 1) % 7)


def _step(numbers: Sequence[int]) -> int | None:
    """Return the distance that all neighbours have, or None when they differ."""
    steps = {later - earlier for earlier, later in pairwise(numbers)}
    return steps.pop() if len(steps) == 1 else None


def _round_the_clock(minutes: Sequence[int], *, from_any: bool = False) -> int | None:
    """Return the distance of minutes that stays the same from hour to hour. They begin at 0, or anywhere."""
    step = _step(minutes)
    if step is None or len(minutes) * step != len(MINUTE.full):
        return None
    return step if from_any or minutes[0] == 0 else None
