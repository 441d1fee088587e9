"""Days and windows in which nothing is run: holidays (`exclude`) and blackouts, on the clock of one zone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Self
from zoneinfo import ZoneInfo

from jobsched.domain.wallclock import aware, change, shown
from jobsched.domain.windows import Window, blackout, excluded

_MOST_HOPS: Final = 4000
"""Of at most a day each, that `until` looks ahead: about ten years."""
_HOP: Final = timedelta(days=1)


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
        reading = shown(aware(instant).astimezone(self.zone))
        return next((reason for reason, window in self.windows if window.end(reading) is not None), None)

    def until(self, instant: datetime) -> datetime | None:
        """Return the first instant at or after an aware one that nothing covers, in UTC.

        Windows that follow each other without a pause count as one. None when it is covered for ten years.
        """
        moment = aware(instant).astimezone(UTC)
        for _ in range(_MOST_HOPS):
            end = self._end(shown(local := moment.astimezone(self.zone)))
            if end is None:
                return moment
            following = moment + min(end - shown(local), _HOP)
            if following.astimezone(self.zone).utcoffset() != local.utcoffset():
                # The clock changes first, and what it shows then may lie outside, or back at the beginning.
                following = change(self.zone, moment, following)
            moment = following
        return None

    def _end(self, reading: datetime) -> datetime | None:
        """Return what the clock shows at the end of the windows around a reading, clock changes aside."""
        return max((end for _, window in self.windows if (end := window.end(reading)) is not None), default=None)
