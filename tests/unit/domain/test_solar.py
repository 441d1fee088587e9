"""Events of the sun: the same as Celery's, and each of them once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from celery.schedules import solar as CelerySolar

from jobsched.domain.errors import InvalidInput
from jobsched.domain.solar import _EVENTS, Solar
from jobsched.domain.timetables import upcoming

PLACES = {
    "Berlin": (52.52, 13.40),
    "Quito": (-0.18, -78.47),
    "Auckland": (-36.85, 174.76),
    "Honolulu": (21.31, -157.86),
    "Suva, at the edge of the map": (-18.14, 180.0),
    "Tromsø, beyond the polar circle": (69.65, 18.96),
    "Longyearbyen": (78.22, 15.65),
    "Ushuaia": (-54.80, -68.30),
}
MOMENTS = [datetime(2026, month, 1 + 9 * (month % 3), 5 * (month % 5), 17, tzinfo=UTC) for month in range(1, 13)]


def celerys(event: str, place: tuple[float, float], moment: datetime) -> datetime:
    celery = CelerySolar(event, *place, nowfun=lambda: moment)
    celery.tz = UTC
    return moment + celery.remaining_estimate(moment)


@pytest.mark.parametrize("event", _EVENTS)
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_it_is_due_when_celery_says(event: str, place: tuple[float, float]) -> None:
    assert set(_EVENTS) == CelerySolar._all_events
    solar = Solar(event=event, latitude=place[0], longitude=place[1])
    for moment in MOMENTS:
        due = solar.after(moment)
        assert due is not None
        assert due > moment
        assert abs(due - celerys(event, place, moment)) <= timedelta(seconds=2)


@pytest.mark.parametrize("event", _EVENTS)
def test_each_event_comes_once_a_day(event: str) -> None:
    found = upcoming(Solar(event=event, latitude=48.1, longitude=11.6), after=MOMENTS[0], count=120)
    steps = [later - earlier for earlier, later in pairwise(found)]
    assert all(timedelta(hours=23, minutes=50) < step < timedelta(hours=24, minutes=10) for step in steps)


def test_in_the_polar_night_the_sun_rises_after_it() -> None:
    sunrise = Solar(event="sunrise", latitude=78.22, longitude=15.65).after(datetime(2026, 11, 21, tzinfo=UTC))
    assert sunrise is not None
    assert (sunrise.year, sunrise.month) == (2027, 2)


def test_what_never_comes_is_never_due() -> None:
    assert Solar(event="sunrise", latitude=90, longitude=0).after(datetime(9999, 12, 30, tzinfo=UTC)) is None


@pytest.mark.parametrize(
    ("event", "place", "reason"),
    [
        ("sunris", (0, 0), "'sunris' is not an event of the sun; did you mean 'sunrise'?"),
        ("tea", (0, 0), "known are dawn_astronomical"),
        ("sunrise", (91, 0), "are not a place"),
        ("sunrise", (0, 181), "are not a place"),
        ("sunrise", (float("nan"), 0), "are not a place"),
    ],
)
def test_another_event_or_place_is_refused(event: str, place: tuple[float, float], reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        Solar(event=event, latitude=place[0], longitude=place[1])


def test_it_says_what_and_where() -> None:
    words = Solar(event="dusk_civil", latitude=52.5, longitude=-13.4).words()
    assert words == "at civil dusk, latitude 52.5, longitude -13.4"
