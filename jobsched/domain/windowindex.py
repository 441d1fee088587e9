"""Many windows, looked up as quickly as a few: an instant costs the same with one holiday and with a thousand."""

from __future__ import annotations

from bisect import bisect_right
from calendar import isleap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from heapq import heappop, heappush
from typing import Final, Generic, Self, TypeVar

from jobsched.domain.windows import Span, Weekly, Window, Yearly

_DAY: Final = timedelta(days=1)
_WEEK: Final = timedelta(days=7)
_LEAP_YEAR, _OTHER_YEAR = 2024, 2023


P = TypeVar("P", datetime, timedelta)


@dataclass(frozen=True, slots=True)
class _Timeline(Generic[P]):
    """Intervals of one line, cut where one begins or ends."""

    cuts: Sequence[P]
    firsts: Sequence[int | None]
    """The lowest number among the intervals that cover the time after each cut, or None."""
    ends: Sequence[P]
    """Where the covered time around each cut ends."""

    @classmethod
    def of(cls, intervals: Iterable[tuple[P, P, int]]) -> Self:
        """Return the timeline of numbered intervals, each without its end."""
        waiting = sorted(intervals, key=lambda interval: interval[0], reverse=True)
        cuts = sorted({cut for begin, end, _ in waiting for cut in (begin, end)})
        covering: list[tuple[int, P]] = []
        firsts: list[int | None] = []
        for cut in cuts:
            while waiting and waiting[-1][0] <= cut:
                _, end, number = waiting.pop()
                heappush(covering, (number, end))
            while covering and covering[0][1] <= cut:
                heappop(covering)
            firsts.append(covering[0][0] if covering else None)
        ends = list(cuts)
        for place in reversed(range(len(cuts) - 1)):
            if firsts[place] is not None:
                ends[place] = ends[place + 1]
        return cls(cuts, firsts, ends)

    def at(self, point: P) -> tuple[int, P] | None:
        """Return the lowest number that covers a point, and the end of the covered time; None outside."""
        place = bisect_right(self.cuts, point) - 1
        first = self.firsts[place] if place >= 0 else None
        return None if first is None else (first, self.ends[place])


class WindowIndex:
    """Windows by their numbers, in the order in which they are given."""

    def __init__(self, windows: Sequence[Window]) -> None:
        numbered = list(enumerate(windows))
        self._dated = _Timeline.of((w.first, w.last, number) for number, w in numbered if isinstance(w, Span))
        self._weekly = _Timeline.of(
            piece for number, w in numbered if isinstance(w, Weekly) for piece in _in_the_week(w, number)
        )
        self._yearly = {
            is_leap: _Timeline.of(
                piece for number, w in numbered if isinstance(w, Yearly) for piece in _in_a_year(w, year, number)
            )
            for is_leap, year in ((True, _LEAP_YEAR), (False, _OTHER_YEAR))
        }

    def at(self, reading: datetime) -> tuple[int, datetime] | None:
        """Return the number of the first window around a naive reading, and when the windows around it end.

        None outside of all windows. At that end another window may begin.
        """
        found = [self._dated.at(reading), self._in_week(reading), self._in_year(reading)]
        covering = [one for one in found if one is not None]
        if not covering:
            return None
        return min(number for number, _ in covering), max(end for _, end in covering)

    def _in_week(self, reading: datetime) -> tuple[int, datetime] | None:
        monday = datetime.combine(reading.date(), time()) - reading.weekday() * _DAY
        found = self._weekly.at(reading - monday)
        return None if found is None else (found[0], monday + found[1])

    def _in_year(self, reading: datetime) -> tuple[int, datetime] | None:
        new_year = datetime(reading.year, 1, 1)  # noqa: DTZ001 - a reading
        found = self._yearly[isleap(reading.year)].at(reading - new_year)
        return None if found is None else (found[0], new_year + found[1])


def _in_the_week(window: Weekly, number: int) -> list[tuple[timedelta, timedelta, int]]:
    """Return a window as intervals after Monday 00:00, in two pieces where it reaches into the next week."""
    pieces: list[tuple[timedelta, timedelta, int]] = []
    for day in window.days:
        begin = day * _DAY + window.begins
        end = begin + window.length
        pieces.append((begin, min(end, _WEEK), number))
        if end > _WEEK:
            pieces.append((timedelta(0), end - _WEEK, number))
    return pieces


def _in_a_year(window: Yearly, year: int, number: int) -> list[tuple[timedelta, timedelta, int]]:
    """Return a window as intervals after 1 January 00:00, in two pieces where it reaches into the next year."""
    new_year = date(year, 1, 1)
    return [(first - new_year, last - new_year + _DAY, number) for first, last in window.in_year(year)]
