"""Due at an event of the sun, as django-celery-beat's solar rows are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final

import ephem

from jobsched.domain.errors import InvalidInput
from jobsched.domain.nearest import did_you_mean
from jobsched.domain.wallclock import within_the_calendar

_library: Any = ephem  # most of it is made in C, of which its types know nothing

_SEARCH_DAYS: Final = 400
"""Near the poles some events come once a year; at the poles themselves some never do."""

_DAY: Final = timedelta(days=1)
_LAST_YEAR: Final = 9990


@dataclass(frozen=True, kw_only=True, slots=True)
class _Event:
    words: str
    method: str
    horizon: str = "0"
    """Degrees above which the sun counts as risen. At sunrise and sunset the air lifts it by 34 minutes of arc."""
    of_the_centre: bool = False
    """Of the sun's disc, instead of its upper edge."""
    hour: int
    """The solar hour around which the event falls, by less than twelve hours in any season and place."""


def _twilight(words: str, horizon: str, *, dawn: bool) -> _Event:
    method, hour = ("next_rising", 6) if dawn else ("next_setting", 18)
    return _Event(words=words, method=method, horizon=horizon, of_the_centre=True, hour=hour)


_EVENTS: Final = {
    "dawn_astronomical": _twilight("astronomical dawn", "-18", dawn=True),
    "dawn_nautical": _twilight("nautical dawn", "-12", dawn=True),
    "dawn_civil": _twilight("civil dawn", "-6", dawn=True),
    "sunrise": _Event(words="sunrise", method="next_rising", horizon="-0:34", hour=6),
    "solar_noon": _Event(words="solar noon", method="next_transit", hour=12),
    "sunset": _Event(words="sunset", method="next_setting", horizon="-0:34", hour=18),
    "dusk_civil": _twilight("civil dusk", "-6", dawn=False),
    "dusk_nautical": _twilight("nautical dusk", "-12", dawn=False),
    "dusk_astronomical": _twilight("astronomical dusk", "-18", dawn=False),
}


@dataclass(frozen=True, kw_only=True)
class Solar:
    """Due at an event of the sun at one place, to the second. `latitude` and `longitude` are degrees, north and east.

    The events are Celery's: `sunrise`, `solar_noon`, `sunset`, and `dawn_` and `dusk_` with `civil`, `nautical` or
    `astronomical`. Where one does not come on a day, as near the poles, the next day that has it counts. Raises
    `InvalidInput` for another event or a place that is not on Earth.
    """

    event: str
    latitude: float
    longitude: float

    def __post_init__(self) -> None:
        if self.event not in _EVENTS:
            nearest = did_you_mean(self.event, _EVENTS) or f"; known are {', '.join(_EVENTS)}"
            raise InvalidInput(f"{self.event!r:.80} is not an event of the sun{nearest}")
        if not (-90 <= self.latitude <= 90 and -180 <= self.longitude <= 180):
            raise InvalidInput(
                f"latitude {self.latitude} and longitude {self.longitude} are not a place; "
                "they go from -90 to 90 and from -180 to 180"
            )

    def after(self, moment: datetime) -> datetime | None:
        return within_the_calendar(self._first, moment)

    def _first(self, moment: datetime) -> datetime | None:
        # Each event belongs to one solar day and is always searched for from the beginning of that: a search that
        # begins elsewhere finds it a little earlier or later, and it would be due twice.
        moment = moment.astimezone(UTC)
        day = self._begin_of_day(moment - _DAY)
        for _ in range(_SEARCH_DAYS):
            if day.year > _LAST_YEAR:
                break
            due = self._within(day, day + _DAY)
            if due is not None and due > moment:
                return due
            day += _DAY
        return None

    def words(self) -> str:
        return f"at {_EVENTS[self.event].words}, latitude {self.latitude:g}, longitude {self.longitude:g}"

    def _begin_of_day(self, moment: datetime) -> datetime:
        """Return the begin of a day that has the event in its middle."""
        ahead = timedelta(hours=self.longitude / 15 + 12 - _EVENTS[self.event].hour)
        return datetime.combine((moment + ahead).date(), time(), tzinfo=UTC) - ahead

    def _within(self, begin: datetime, end: datetime) -> datetime | None:
        event = _EVENTS[self.event]
        place = _library.Observer()
        place.lat, place.lon = str(self.latitude), str(self.longitude)
        place.elevation = place.pressure = 0
        place.horizon = event.horizon
        options = {"use_center": True} if event.of_the_centre else {}
        try:
            found = getattr(place, event.method)(
                _library.Sun(), start=_library.Date(begin.replace(tzinfo=None)), **options
            )
        except _library.CircumpolarError:
            return None
        due: datetime = found.datetime().replace(microsecond=0, tzinfo=UTC)
        return due if begin <= due < end else None
