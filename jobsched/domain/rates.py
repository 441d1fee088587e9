"""How many runs may start in a length of time: `100/m`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Self

from jobsched.domain.errors import InvalidInput

MOST: Final = 1_000_000
"""More in one period would be starts less than a microsecond apart."""

_UNITS: Final = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
_RATE: Final = re.compile(r"\s*(\d{1,9})\s*/\s*([smhd])\s*", re.ASCII)

PATTERN: Final = r"^\d{1,7}/[smhd]$"
"""The syntax, as a regular expression for editors."""


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` starts in any `period`, spread evenly. `period` is a second, a minute, an hour or a day."""

    count: int
    period: timedelta

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a count and a unit, such as `100/m`. Raises `InvalidInput` for anything else."""
        found = _RATE.fullmatch(text)
        if found is None:
            raise InvalidInput(f"{text[:80]!r} is not a rate; write a count and one of s, m, h and d, such as 100/m")
        count = int(found[1])
        if not 1 <= count <= MOST:
            raise InvalidInput(f"{text.strip()!r}: the count of a rate is from 1 to {MOST}")
        return cls(count, _UNITS[found[2]])

    @property
    def text(self) -> str:
        """The rate as `parse` reads it."""
        return f"{self.count}/{next(unit for unit, period in _UNITS.items() if period == self.period)}"

    @property
    def interval(self) -> timedelta:
        """The time between two starts that keeps to the rate."""
        return self.period / self.count
