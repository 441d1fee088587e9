"""The five fields of a crontab, each as the set of numbers it stands for.

There are two dialects. A *row* of django-celery-beat means what `celery.schedules.crontab_parser` makes of
it: names anywhere, ranges that wrap around. A *cron string* typed by a user is held to what every cron
agrees on, so that nobody gets a schedule other than the one they know from elsewhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from jobsched.domain.errors import InvalidInput

MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")

_NUMBERS: Final = {name: number for number, name in enumerate(MONTHS, 1)} | {
    name: number for number, name in enumerate(DAYS)
}
_NUMBER: Final = re.compile(r"\d{1,4}", re.ASCII)
_TERM: Final = re.compile(r"(?:(?P<star>\*)|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\w*))?", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """One of the five fields and the numbers it may hold."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    @property
    def full(self) -> frozenset[int]:
        return frozenset(range(self.low, self.high + 1))

    @property
    def sunday_may_be_7(self) -> bool:
        return self.names is DAYS


MINUTE: Final = Field(name="minute", low=0, high=59)
HOUR: Final = Field(name="hour", low=0, high=23)
DAY_OF_MONTH: Final = Field(name="day of month", low=1, high=31)
MONTH: Final = Field(name="month", low=1, high=12, names=MONTHS)
DAY_OF_WEEK: Final = Field(name="day of week", low=0, high=6, names=DAYS)
FIELDS: Final = (MINUTE, HOUR, DAY_OF_MONTH, MONTH, DAY_OF_WEEK)


@lru_cache(maxsize=8192)
def row_numbers(field: Field, text: str) -> frozenset[int]:
    """Return the numbers that the text of a row stands for. Raises `InvalidInput` with the reason."""
    numbers: set[int] = set()
    for term in text.split(","):
        found = _TERM.fullmatch(term.strip())
        if found is None:
            raise InvalidInput(f"{field.name} {text!r}: {term!r} is not a number, a range or a step")
        numbers.update(_term_numbers(field, found))
    return frozenset(numbers)


# Files of thousands of jobs repeat the same few fields, and each is read several times on its way.
@lru_cache(maxsize=4096)
def normalised(field: Field, text: str) -> str:
    """Return a cron string's field as django-celery-beat's validators and Celery's parser both accept it.

    Names become numbers and Sunday becomes 0. Raises `InvalidInput` with the reason.
    """
    terms = [_strict_term(field, term) for term in text.lower().split(",")]
    numbers = row_numbers(field, ",".join(terms))
    if terms[0].startswith("*"):
        # A leading star also says how to treat clock changes, so it stays in front.
        others = numbers - row_numbers(field, terms[0])
        return ",".join([terms[0], *map(str, sorted(others))])
    if any("7" in re.split(r"[-/]", term)[:2] for term in terms) and field.sunday_may_be_7:
        return _listed(numbers)
    return min(",".join(terms), _listed(numbers), key=len)


def _listed(numbers: frozenset[int]) -> str:
    return ",".join(map(str, sorted(numbers)))


def _term_numbers(field: Field, found: re.Match[str]) -> list[int]:
    if found["star"]:
        numbers = sorted(field.full)
    else:
        first = _number(field, found["first"])
        last = _number(field, found["last"]) if found["last"] else first
        numbers = _wrapped(field, first, last)
    if found["step"] is None:
        return numbers
    if not found["star"] and not found["last"]:
        raise InvalidInput(_step_of_one(field, found))
    step = int(found["step"]) if _NUMBER.fullmatch(found["step"]) else 0
    if step < 1:
        raise InvalidInput(f"{field.name} {found[0]!r}: the step after '/' must be a number from 1")
    return numbers[::step]


def _wrapped(field: Field, first: int, last: int) -> list[int]:
    """A range in the order of a clock: 22-2 is 22, 23, 0, 1, 2."""
    if field.sunday_may_be_7 and last == 7 and first < 7:
        return [*range(first, 7), 0]
    if field.sunday_may_be_7:
        first, last = first % 7, last % 7
    if first <= last:
        return list(range(first, last + 1))
    return [*range(first, field.high + 1), *range(field.low, last + 1)]


def _number(field: Field, text: str) -> int:
    number = int(text) if _NUMBER.fullmatch(text) else _NUMBERS.get(text[:3].lower())
    high = 7 if field.sunday_may_be_7 else field.high
    if number is None:
        raise InvalidInput(f"{field.name} {text!r} is neither a number nor a name")
    if not field.low <= number <= high:
        raise InvalidInput(f"{field.name} {text} is outside {field.low}-{high}")
    return number


def _strict_term(field: Field, term: str) -> str:
    """Check one term against what every cron agrees on, and return it with numbers for names."""
    found = _TERM.fullmatch(term)
    if found is None:
        raise InvalidInput(_why_not_a_term(field, term))
    if found["star"]:
        base = "*"
    else:
        first = _strict_number(field, found["first"])
        last = _strict_number(field, found["last"]) if found["last"] else None
        if last is not None and last < first:
            raise InvalidInput(
                f"{field.name} {term!r} runs backwards; write it as two ranges, "
                f"{_span(first, field.high)},{_span(field.low, last)}"
            )
        base = f"{first}" if last is None else f"{first}-{last}"
    if found["step"] is None:
        return base
    if not found["star"] and not found["last"]:
        raise InvalidInput(_step_of_one(field, found))
    if not _NUMBER.fullmatch(found["step"]) or not 1 <= int(found["step"]) <= field.high:
        raise InvalidInput(f"{field.name} {term!r}: the step after '/' must be a number from 1 to {field.high}")
    return f"{base}/{int(found['step'])}"


def _strict_number(field: Field, text: str) -> int:
    if not _NUMBER.fullmatch(text) and text not in field.names:
        allowed = f" or one of {', '.join(field.names)}" if field.names else ""
        raise InvalidInput(f"{field.name} {text!r} is not a number from {field.low} to {field.high}{allowed}")
    return _number(field, text)


def _step_of_one(field: Field, found: re.Match[str]) -> str:
    return (
        f"{field.name} {found[0]!r} has a step on a single number, which crons read differently; "
        f"write {found['first']}-{field.high}/{found['step']}"
    )


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def _why_not_a_term(field: Field, term: str) -> str:
    if not term:
        return f"{field.name} has an empty place between commas"
    if "?" in term:
        return f"{field.name} {term!r}: '?' is not used here; write '*' for any"
    if "#" in term:
        return f"{field.name} {term!r}: '#' (the nth weekday of a month) is written such as tue#2 in the day of week"
    return f"{field.name} {term!r} is not a number, a range or a step"
