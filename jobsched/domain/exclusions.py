"""Days and windows in which nothing is run: holidays (`exclude`) and blackouts, on the clock of one zone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Final, Self
from zoneinfo import ZoneInfo

from jobsched.domain.wallclock import Search, aware, change, shown
from jobsched.domain.windowindex import WindowIndex
from jobsched.domain.windows import Window, blackout, excluded

_MOST_HOPS: Final = 4000
"""Of at most a day each, that `until` looks ahead: about ten years."""
_HOP: Final = timedelta(days=1)
_DAILY_PAUSES: Final = 800
"""How often `first_outside` is covered by windows of every day: two years, with all changes of the clock."""


@dataclass(frozen=True, kw_only=True)
class Exclusions:
    """What is excluded. An instant is covered when the clock in `zone` shows a time inside a window.

    So a window is as long as its clock says: where clocks go back, the repeated times are inside both times.
    """

    windows: tuple[tuple[str, Window], ...]
    """Each with the reason that it gives."""
    zone: ZoneInfo

    @classmethod
    def of(cls, exclude: Iterable[str], blackouts: Iterable[str], zone: ZoneInfo) -> Self:
        """Read what users write as `exclude` and `blackout`. Raises `InvalidInput` for what makes no sense."""
        days = [(f"excluded: {' '.join(text.split())}", excluded(text)) for text in exclude]
        times = [(f"blackout {' '.join(text.split())} ({zone.key})", blackout(text)) for text in blackouts]
        return cls(windows=(*days, *times), zone=zone)

    def __bool__(self) -> bool:
        return bool(self.windows)

    def reason(self, instant: datetime) -> str | None:
        """Return why an aware instant is excluded, or None when it is not."""
        if not self.windows:
            return None
        found = self._index.at(shown(aware(instant).astimezone(self.zone)))
        return None if found is None else self.windows[found[0]][0]

    def until(self, instant: datetime) -> datetime | None:
        """Return the first instant at or after an aware one that nothing covers, in UTC.

        Windows that follow each other without a pause count as one. None when it is covered for ten years.
        """
        moment = aware(instant).astimezone(UTC)
        for _ in range(_MOST_HOPS):
            local = moment.astimezone(self.zone)
            found = self._index.at(shown(local))
            if found is None:
                return moment
            following = moment + min(found[1] - shown(local), _HOP)
            if following.astimezone(self.zone).utcoffset() != local.utcoffset():
                # The clock changes first, and what it shows then may lie outside, or back at the beginning.
                following = change(self.zone, moment, following)
            moment = following
        return None

    def first_outside(self, search: Search, moment: datetime) -> datetime | None:
        """Return the first instant strictly after an aware moment that a search finds and nothing covers.

        None when the search ends before, and when it is covered again and again, for two years or more.
        """
        instant = search(moment)
        for _ in range(2 * len(self.windows) + _DAILY_PAUSES):
            if instant is None or self.reason(instant) is None:
                return instant
            free = self.until(instant)
            instant = None if free is None else search(free - timedelta(microseconds=1))
        return None

    @cached_property
    def _index(self) -> WindowIndex:
        return WindowIndex([window for _, window in self.windows])
