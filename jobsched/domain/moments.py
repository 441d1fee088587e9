"""A moment as users write it, and the time zone it is read in when it has no offset of its own."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, WithJsonSchema

from jobsched.domain.nearest import did_you_mean

_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d[ Tt]\d\d:\d\d(:\d\d)?\s*(Z|z|[+-]\d\d:?\d\d)?", re.ASCII)
_LATEST_YEAR: Final = 9998  # the last one that fits into a datetime in every zone


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones() - {"localtime", "Factory"})


def _zone(name: str) -> str:
    if name not in _zones():
        nearest = did_you_mean(name, _zones())
        raise ValueError(f"{name!r:.80} is not a time zone{nearest or ', such as UTC or Europe/Berlin'}")
    return name


def _moment(value: Any) -> Any:
    if isinstance(value, str):
        if not _MOMENT.fullmatch(value.strip()):
            raise ValueError(f"{value!r:.80} is not a moment; write a date and a time, such as 2026-12-01 03:00")
        try:
            value = datetime.fromisoformat(re.sub(r"\s+(?=[Zz+-]\S*$)", "", value.strip()).upper())
        except ValueError as error:
            raise ValueError(f"{value!r} is not a moment: {error}") from error
    if isinstance(value, datetime) and not 1970 <= value.year <= _LATEST_YEAR:
        raise ValueError(f"{value.isoformat(sep=' ')} is outside the years 1970 to {_LATEST_YEAR}")
    return value


TimeZone = Annotated[str, AfterValidator(_zone)]
Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    PlainSerializer(lambda at: at.isoformat(sep=" "), return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": f"^{_MOMENT.pattern}$"}),
]
"""A date and a time, with or without an offset."""


def in_utc(moment: datetime, zone: str) -> datetime:
    """Return the instant in UTC that a moment stands for; without an offset of its own it is read in `zone`."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))).astimezone(UTC)


def check_unambiguous(moment: datetime, zone: str) -> None:
    """Refuse a moment without an offset that the clock in `zone` skips or shows twice. Raises ValueError."""
    if moment.tzinfo is not None:
        return
    first, second = (moment.replace(tzinfo=ZoneInfo(zone), fold=fold) for fold in (0, 1))
    if first.utcoffset() != second.utcoffset():
        skipped = first.astimezone(UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None) != moment
        how = "does not exist" if skipped else "comes twice"
        raise ValueError(f"{moment} {how} in {zone}, where clocks change; add an offset, such as {first.isoformat()}")
