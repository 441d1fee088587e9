"""What the text of an RRULE (RFC 5545) says: the parts that a schedule may have, checked one by one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from typing import Final, Self
from zoneinfo import ZoneInfo

from jobsched.domain.errors import InvalidInput
from jobsched.domain.nearest import did_you_mean

FREQUENCIES: Final = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY")
WEEKDAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
MOST_INTERVAL: Final = 10_000
MOST_COUNT: Final = 10_000
LONGEST: Final = 500

_ORIGIN: Final = datetime(2000, 1, 1)  # noqa: DTZ001 - what a clock on the wall shows, in whatever zone
_FIRST_YEAR, _LAST_YEAR = 1600, 9000
"""Of DTSTART and UNTIL: what a Gregorian calendar is used for, with room on both sides for zones."""
_STAMP: Final = re.compile(r"(\d{8})(?:T(\d{6})(Z?))?", re.ASCII)
_DAY: Final = re.compile(r"([+-]?\d{1,2})?(MO|TU|WE|TH|FR|SA|SU)", re.ASCII)
_NUMBER: Final = re.compile(r"[+-]?\d{1,5}", re.ASCII)

_RANGES: Final = {
    "BYSECOND": (0, 59),
    "BYMINUTE": (0, 59),
    "BYHOUR": (0, 23),
    "BYMONTH": (1, 12),
    "BYMONTHDAY": (1, 31),
    "BYYEARDAY": (1, 366),
    "BYWEEKNO": (1, 53),
    "BYSETPOS": (1, 366),
}
_SIGNED: Final = frozenset({"BYMONTHDAY", "BYYEARDAY", "BYWEEKNO", "BYSETPOS"})
_KNOWN: Final = ("FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYDAY", *_RANGES)
_ONLY_WITH: Final = {
    "BYWEEKNO": ("YEARLY",),
    "BYYEARDAY": ("YEARLY", "HOURLY", "MINUTELY"),
    "BYMONTHDAY": ("YEARLY", "MONTHLY", "DAILY", "HOURLY", "MINUTELY"),
}

Weekday = tuple[int, int]
"""Monday is 0; and which one of the month or year, 0 for every, negative from the end."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """The parts of a rule. `numbers` are those of the BY parts other than BYDAY, in order."""

    freq: str
    interval: int = 1
    count: int | None = None
    until: datetime | None = None
    """The last reading that counts."""
    week_start: int = 0
    weekdays: tuple[Weekday, ...] = ()
    numbers: dict[str, tuple[int, ...]] = field(default_factory=dict)
    start: datetime = _ORIGIN
    """The reading that intervals are counted from, and before which nothing is due."""

    @classmethod
    def parse(cls, rule: str, start: str | None, *, zone: ZoneInfo) -> Self:
        """Read `FREQ=…;…` and the value of DTSTART. An UNTIL in UTC is turned to the clock of `zone`.

        Raises `InvalidInput` with the reason.
        """
        parts = _parts(rule)
        freq = parts.pop("FREQ", "")
        if freq not in FREQUENCIES:
            why = "; for seconds, write a duration such as 10s" if freq == "SECONDLY" else ""
            raise InvalidInput(f"FREQ must be one of {', '.join(FREQUENCIES)}, not {freq!r:.40}{why}")
        for name in parts:
            if freq not in _ONLY_WITH.get(name, FREQUENCIES):
                raise InvalidInput(f"{name} does not go with FREQ={freq}, only with {', '.join(_ONLY_WITH[name])}")
        numbers = {name: _numbers(name, parts[name]) for name in _RANGES if name in parts}
        weekdays = _weekdays(parts.get("BYDAY", ""), freq) if "BYDAY" in parts else ()
        if "BYWEEKNO" in parts and any(nth for _, nth in weekdays):
            raise InvalidInput("BYDAY counts days of the year, which does not go with BYWEEKNO; leave one of them out")
        if "BYSETPOS" in parts and not (weekdays or len(numbers) > 1):
            raise InvalidInput("BYSETPOS chooses from what another part such as BYDAY allows; give one")
        if "COUNT" in parts and "UNTIL" in parts:
            raise InvalidInput("COUNT and UNTIL do not go together; give one of them")
        if "COUNT" in parts and start is None:
            raise InvalidInput("COUNT needs a first line such as DTSTART:20260101T090000 to count from")
        return cls(
            freq=freq,
            interval=_number("INTERVAL", parts.get("INTERVAL", "1"), 1, MOST_INTERVAL),
            count=_number("COUNT", parts["COUNT"], 1, MOST_COUNT) if "COUNT" in parts else None,
            until=_until(parts["UNTIL"], zone) if "UNTIL" in parts else None,
            week_start=_week_start(parts.get("WKST", "MO")),
            weekdays=weekdays,
            numbers=numbers,
            start=_ORIGIN if start is None else _start(start),
        )

    def of_day(self, name: str, default: int) -> tuple[int, ...]:
        """Return what a part allows of a day's hours, minutes or seconds: without the part, what `start` has."""
        return self.numbers.get(name, (default,))

    @property
    def set_positions(self) -> tuple[int, ...]:
        """Return the values of BYSETPOS: which readings of a period count, from 1, or from -1 at its end."""
        return self.numbers.get("BYSETPOS", ())

    @property
    def names_days(self) -> bool:
        """Whether a part other than BYMONTH says which days are meant."""
        return bool(self.weekdays) or bool(self.numbers.keys() & {"BYMONTHDAY", "BYYEARDAY", "BYWEEKNO"})


def _parts(rule: str) -> dict[str, str]:
    parts: dict[str, str] = {}
    for part in rule.upper().rstrip(";").split(";"):
        name, equals, value = part.partition("=")
        if not equals or not value:
            raise InvalidInput(f"{part!r:.40} must be a name, '=' and a value, such as FREQ=DAILY")
        if name not in _KNOWN:
            raise InvalidInput(f"{name!r:.40} is not a part of a rule{did_you_mean(name, _KNOWN)}")
        if name in parts:
            raise InvalidInput(f"{name} is given twice")
        parts[name] = value
    return parts


def _number(name: str, text: str, low: int, high: int, *, signed: bool = False) -> int:
    number = int(text) if _NUMBER.fullmatch(text) else 0 if low else -1
    if not low <= (abs(number) if signed else number) <= high:
        either = f", or -{low} to -{high} from the end" if signed else ""
        raise InvalidInput(f"{name}={text:.40} must be {low} to {high}{either}")
    return number


def _numbers(name: str, text: str) -> tuple[int, ...]:
    low, high = _RANGES[name]
    return tuple(sorted({_number(name, part, low, high, signed=name in _SIGNED) for part in text.split(",")}))


def _weekdays(text: str, freq: str) -> tuple[Weekday, ...]:
    found = [_DAY.fullmatch(part) for part in text.split(",")]
    days = sorted({(WEEKDAYS.index(day[2]), int(day[1] or 0)) for day in found if day})
    if not all(found) or any(day and day[1] and not 1 <= abs(int(day[1])) <= 53 for day in found):
        raise InvalidInput(f"BYDAY={text:.40} must be days such as MO,TU, or counted ones such as 2TU and -1FR")
    if freq not in ("YEARLY", "MONTHLY") and any(nth for _, nth in days):
        raise InvalidInput(f"BYDAY={text:.40} counts days of a month or year, which needs FREQ=MONTHLY or YEARLY")
    return tuple(days)


def _week_start(text: str) -> int:
    if text not in WEEKDAYS:
        raise InvalidInput(f"WKST={text:.40} must be one of {', '.join(WEEKDAYS)}")
    return WEEKDAYS.index(text)


def _start(text: str) -> datetime:
    found = _STAMP.fullmatch(text)
    if found is None or found[2] is None or found[3]:
        raise InvalidInput(
            f"DTSTART:{text:.40} must be a date and a time such as 20260101T090000, on the clock of the job's timezone"
        )
    return _read("DTSTART", found)


def _until(text: str, zone: ZoneInfo) -> datetime:
    found = _STAMP.fullmatch(text)
    if found is None:
        raise InvalidInput(f"UNTIL={text:.40} must be a date and a time, such as 20261231T235959, or a date")
    until = _read("UNTIL", found)
    if found[2] is None:
        return datetime.combine(until, time.max)  # that day included
    return until.replace(tzinfo=UTC).astimezone(zone).replace(tzinfo=None) if found[3] else until


def _read(name: str, found: re.Match[str]) -> datetime:
    try:
        read = datetime.strptime(f"{found[1]}{found[2] or '000000'}", "%Y%m%d%H%M%S")  # noqa: DTZ007 - a reading
    except ValueError as error:
        raise InvalidInput(f"{name} {found[0]} is not in the calendar") from error
    if not _FIRST_YEAR <= read.year <= _LAST_YEAR:
        raise InvalidInput(f"{name} {found[0]} is outside the years {_FIRST_YEAR} to {_LAST_YEAR}")
    return read
