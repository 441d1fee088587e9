"""Clocks on the wall and the instants they stand for: where a zone's clocks change, and what they show then."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

SECOND: Final = timedelta(seconds=1)


def aware(moment: datetime) -> datetime:
    """Return the moment. Raises ValueError for one without a zone: a mistake in the program, not of a user."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone")
    return moment


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
