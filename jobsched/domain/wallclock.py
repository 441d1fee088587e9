"""Clocks on the wall and the instants they stand for: where a zone's clocks change, and what they show then."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, Protocol, runtime_checkable
from zoneinfo import ZoneInfo

SECOND: Final = timedelta(seconds=1)
EARLIEST: Final = datetime(2, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(9998, 12, 30, tzinfo=UTC)
"""Nothing is due before and after these: what lies further out is no date in some zones."""


def aware(moment: datetime) -> datetime:
    """Return the moment. Raises ValueError for one without a zone: a mistake in the program, not of a user."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone")
    return moment


def utc(moment: datetime) -> datetime:
    """Return the same instant in UTC. Raises ValueError for a moment without a zone.

    Python counts and compares two moments of one zone by the clock on the wall, which is wrong across a clock change:
    moments are brought to UTC before anything is added to them, subtracted from them or compared with them.
    """
    return moment if moment.tzinfo is UTC else aware(moment).astimezone(UTC)


def shown(local: datetime) -> datetime:
    """Return what the clock on the wall shows: the same for both passes through a repeated hour."""
    return local.replace(tzinfo=None, fold=0)


def change(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """Return the instant between two others in UTC, to the second, at which a zone's offset changes."""
    offset = after.astimezone(zone).utcoffset()
    while after - before > SECOND:
        middle = before + (after - before) // (2 * SECOND) * SECOND
        if middle.astimezone(zone).utcoffset() == offset:
            after = middle
        else:
            before = middle
    return after


def changes(zone: ZoneInfo, after: datetime, until: datetime) -> list[datetime]:
    """Return the instants in UTC, strictly after one and not after another, at which a zone's offset changes."""
    # Offsets change on whole seconds; so does the search.
    after = aware(after).astimezone(UTC).replace(microsecond=0)
    until = aware(until).astimezone(UTC).replace(microsecond=0)
    return [
        instant
        for year in range(after.year, until.year + 1)
        for instant in _changes_in_year(zone, year)
        if after < instant <= until
    ]


# Files of thousands of jobs have few zones, and each job asks for the same years of its zone.
@lru_cache(maxsize=4096)
def _changes_in_year(zone: ZoneInfo, year: int) -> tuple[datetime, ...]:
    """Return the changes of a zone's offset in a year of UTC.

    A day at a time: no zone changes its clocks and changes them back within one.
    """
    found: list[datetime] = []
    earlier = max(datetime(year, 1, 1, tzinfo=UTC) - SECOND, EARLIEST) if year > 1 else EARLIEST
    end = min(datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC), LATEST)
    offset = earlier.astimezone(zone).utcoffset()
    while earlier < end:
        later = min(earlier + timedelta(days=1), end)
        if (following := later.astimezone(zone).utcoffset()) != offset:
            found.append(change(zone, earlier, later))
            offset = following
        earlier = later
    return tuple(found)


Search = Callable[[datetime], datetime | None]
"""Gives the first instant in UTC strictly after an aware one; None when there is none."""


def within_the_calendar(search: Search, moment: datetime) -> datetime | None:
    """Return what a search finds after an aware moment, however near that is to the ends of the calendar."""
    if aware(moment) >= LATEST:
        return None
    try:
        found = search(max(moment, EARLIEST))
    except OverflowError:  # it has come to the end of the calendar
        return None
    return found if found is None or found <= LATEST else None


@runtime_checkable
class OnTheClock(Protocol):
    """A timetable of readings of the clock in one zone."""

    @property
    def timezone(self) -> ZoneInfo:
        """The zone whose clock is read."""

    @property
    def is_fixed(self) -> bool:
        """Whether it comes at fixed times of the day (`first_fixed`), rather than keeping a pace (`first_paced`)."""

    def reading_after(self, reading: datetime) -> datetime | None:
        """Return the first wanted reading strictly after a naive one, clock changes aside."""


def first_on(timetable: OnTheClock, moment: datetime) -> datetime | None:
    """Return the first instant in UTC, strictly after an aware one, at which a timetable on the clock is due."""
    first = first_fixed if timetable.is_fixed else first_paced
    return within_the_calendar(lambda after: first(timetable.reading_after, timetable.timezone, after), moment)


Following = Callable[[datetime], datetime | None]
"""Gives the first wanted reading strictly after a naive one, clock changes aside; None when there is none."""


def first_fixed(following: Following, zone: ZoneInfo, moment: datetime) -> datetime | None:
    """Return the first instant in UTC, strictly after an aware one, at which a wanted time of the day comes.

    A time that the clock skips comes right after the gap, and one that it repeats comes the first time only.
    """
    local = aware(moment).astimezone(zone)
    moment, reading = local.astimezone(UTC), shown(local)
    if local.fold:
        # All that is repeated came the first time. Rules with seconds may have thousands of such times.
        reading = _end_of_first_pass(zone, local) - SECOND
    while (wanted := following(reading)) is not None:
        due = wanted.replace(tzinfo=zone).astimezone(UTC)
        if shown(due.astimezone(zone)) != wanted:
            # The clock skips this reading, so `due` lies as far beyond the gap as the reading lies in it.
            due = change(zone, due - timedelta(days=1), due)
        if due > moment:
            return due
        reading = wanted
    return None


def first_paced(following: Following, zone: ZoneInfo, moment: datetime) -> datetime | None:
    """Return the first instant in UTC, strictly after an aware one, at which the clock shows a wanted reading.

    What the clock repeats comes again, and what it skips does not come.
    """
    local = aware(moment).astimezone(zone)
    moment, reading = local.astimezone(UTC), shown(local)
    goes_back = _goes_back(zone, local)
    while (wanted := following(reading)) is not None:
        due = wanted.replace(tzinfo=zone).astimezone(UTC)
        if due <= moment:  # its first pass is over
            due = wanted.replace(tzinfo=zone, fold=1).astimezone(UTC)
        if goes_back is not None and due >= goes_back:
            # Before the clock shows that reading it goes back, to readings that may be wanted again.
            moment, reading = goes_back - SECOND, shown(goes_back.astimezone(zone)) - SECOND
            goes_back = None
        elif shown(due.astimezone(zone)) == wanted:
            return due
        else:  # skipped by the clock, like all up to the end of the gap
            end = shown(change(zone, due - timedelta(days=1), due).astimezone(zone))
            reading = max(wanted, end - SECOND)
    return None


def _end_of_first_pass(zone: ZoneInfo, local: datetime) -> datetime:
    """Return what the clock shows at the end of a first pass, if `local` is in the second."""
    first, second = (local.replace(microsecond=0, fold=fold).astimezone(UTC) for fold in (0, 1))
    goes_back = change(zone, first, second)
    return shown((goes_back - SECOND).astimezone(zone)) + SECOND


def _goes_back(zone: ZoneInfo, local: datetime) -> datetime | None:
    """Return the instant at which the clock goes back, if `local` is in the first of two passes."""
    again = local.replace(microsecond=0, fold=1)
    if local.fold == 1 or again.utcoffset() == local.utcoffset():
        return None
    first = local.replace(microsecond=0)
    return change(zone, first.astimezone(UTC), again.astimezone(UTC))
