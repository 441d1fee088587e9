"""Schedules written as an RRULE of RFC 5545, on the clock of one zone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar, Final, Self
from zoneinfo import ZoneInfo

from jobsched.domain import rrulereadings, rrulewords
from jobsched.domain.errors import InvalidInput
from jobsched.domain.rrulereadings import RuleReadings
from jobsched.domain.rrules import LONGEST, Rule
from jobsched.domain.wallclock import first_on

_LINE: Final = re.compile(r"(?i)(DTSTART|RRULE|EXDATE|RDATE|EXRULE)([:;].*)")


@dataclass(frozen=True, kw_only=True)
class Recurrence:
    """Due as an RRULE says, counted on the clock in `timezone` from `start`, or from 2000-01-01 00:00.

    At clock changes, rules of whole days (DAILY and longer) come at fixed times: right after the gap when skipped,
    once when repeated. HOURLY and MINUTELY follow the clock on the wall. Raises `InvalidInput` with the reason.
    """

    KIND: ClassVar[str] = "rrule"

    rule: str
    """`FREQ=MONTHLY;BYDAY=2TU;BYHOUR=9`"""
    start: str | None = None
    """`20260101T090000`"""
    timezone: ZoneInfo

    def __post_init__(self) -> None:
        self._readings  # noqa: B018 - a wrong part is refused when it is given, not when it is due

    @classmethod
    def parse(cls, text: str, *, timezone: ZoneInfo) -> Self:
        """Read an RRULE line, and a DTSTART line before it if there is one. Raises `InvalidInput` with the reason."""
        if len(text) > LONGEST:
            raise InvalidInput(f"a rule has at most {LONGEST} characters, this one {len(text)}")
        lines: dict[str, str] = {}
        for line in text.split():
            found = _LINE.fullmatch(line)
            if found is None:
                raise InvalidInput(f"{line!r:.60} is neither DTSTART:… nor RRULE:…")
            name, value = found[1].upper(), found[2]
            if name in ("EXDATE", "RDATE", "EXRULE"):
                raise InvalidInput(f"{name} is not supported; list dates under exclude, or make two jobs")
            if value[0] == ";":
                raise InvalidInput(f"{line!r:.60} must be {name}: and a value; the zone is the job's timezone")
            if name in lines:
                raise InvalidInput(f"{name} is given twice; make two jobs")
            lines[name] = value[1:].upper()
        if "RRULE" not in lines:
            raise InvalidInput("a line such as RRULE:FREQ=DAILY is missing")
        recurrence = cls(rule=lines["RRULE"], start=lines.get("DTSTART"), timezone=timezone)
        if recurrence._readings.first() is None:
            raise InvalidInput("never comes: no day has all that it asks for")
        return recurrence

    @cached_property
    def _parts(self) -> Rule:
        return Rule.parse(self.rule, self.start, zone=self.timezone)

    @cached_property
    def _readings(self) -> RuleReadings:
        return RuleReadings(self._parts)

    @property
    def is_fixed(self) -> bool:
        """Whether it comes at fixed times of the day, rather than keeping a pace."""
        return self._parts.freq not in rrulereadings.PACED

    def after(self, moment: datetime) -> datetime | None:
        return first_on(self, moment)

    def reading_after(self, reading: datetime) -> datetime | None:
        """Return the first naive reading strictly after another that the rule asks for, clock changes aside."""
        return self._readings.after(reading)

    def words(self) -> str:
        rule = rrulewords.in_words(self._parts) or f"as RRULE:{self.rule} says"
        since = f", from {self._parts.start:%Y-%m-%d %H:%M} on" if self.start else ""
        return f"{rule}{since}, {self.timezone.key}"

    def stored(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"kind": self.KIND, "rule": self.rule, "start": self.start, "timezone": self.timezone.key}

    def written(self) -> tuple[str, str]:
        """Return the rule, with its DTSTART if it has one, and its time zone."""
        return f"DTSTART:{self.start} RRULE:{self.rule}" if self.start else f"RRULE:{self.rule}", self.timezone.key

    @classmethod
    def from_stored(cls, data: dict[str, Any]) -> Self:
        """Read what `stored` returned. Raises `InvalidInput` or KeyError when it is something else."""
        start = data.get("start")
        return cls(
            rule=str(data["rule"]), start=None if start is None else str(start), timezone=ZoneInfo(data["timezone"])
        )


def is_rule(text: str) -> bool:
    """Tell whether a schedule is meant as an RRULE."""
    return _LINE.match(text.strip()) is not None
