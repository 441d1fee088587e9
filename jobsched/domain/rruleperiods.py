"""The readings that a rule asks for in one period, counted and found by place instead of being listed."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Clock:
    """Times of a day in order: each head with each tail, in seconds. Never listed, there may be 86,400."""

    heads: tuple[int, ...]
    """After midnight. The next one comes after the last tail of the one before."""
    tails: tuple[int, ...]
    """After a head."""

    def __len__(self) -> int:
        return len(self.heads) * len(self.tails)

    def at(self, place: int) -> int:
        """Return the time at a place, in seconds after midnight."""
        head, tail = divmod(place, len(self.tails))
        return self.heads[head] + self.tails[tail]

    def up_to(self, seconds: int) -> int:
        """Return how many times are not later than `seconds` after midnight."""
        head = bisect_right(self.heads, seconds) - 1
        return 0 if head < 0 else head * len(self.tails) + bisect_right(self.tails, seconds - self.heads[head])


@dataclass(frozen=True, slots=True)
class Period:
    """The readings of one year, month, week or day: each day with each time of the clock, or chosen ones of these."""

    days: Sequence[int]
    """As proleptic ordinals."""
    clock: Clock
    positions: tuple[int, ...] = ()
    """BYSETPOS: which of the readings are chosen, from 1, or from -1 at the end. Empty: all."""

    def __len__(self) -> int:
        return len(self._chosen()) if self.positions else self._size

    def at(self, place: int) -> datetime:
        """Return the reading at a place."""
        day, time = divmod(self._chosen()[place] if self.positions else place, len(self.clock))
        return datetime.fromordinal(self.days[day]) + timedelta(seconds=self.clock.at(time))

    def up_to(self, reading: datetime) -> int:
        """Return how many readings are not later than another."""
        day = reading.toordinal()
        place = bisect_left(self.days, day)
        before = place * len(self.clock)
        if place < len(self.days) and self.days[place] == day:
            before += self.clock.up_to(reading.hour * 3600 + reading.minute * 60 + reading.second)
        return bisect_left(self._chosen(), before) if self.positions else before

    @property
    def _size(self) -> int:
        return len(self.days) * len(self.clock)

    def _chosen(self) -> list[int]:
        places = {position - 1 if position > 0 else self._size + position for position in self.positions}
        return sorted(place for place in places if 0 <= place < self._size)
