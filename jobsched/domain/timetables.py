"""When something is due. A timetable answers one question: what is the first instant after this one?"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, ClassVar, Final, Protocol, Self, runtime_checkable
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from jobsched.domain import cronfields, cronwords, durations
from jobsched.domain.errors import InvalidInput
from jobsched.domain.monthlycrontab import MonthlyCrontab, counts_days
from jobsched.domain.readings import Readings
from jobsched.domain.recurrence import Recurrence, is_rule
from jobsched.domain.wallclock import SECOND, first_on, utc, within_the_calendar

LONGEST_CRON_STRING: Final = 200


class Timetable(Protocol):
    """Says when something is due."""

    def after(self, moment: datetime) -> datetime | None:
        """Return the first instant strictly after an aware `moment`, in UTC; None when there is none."""

    def words(self) -> str:
        """Return the timetable in plain English."""


@runtime_checkable
class StoredTimetable(Timetable, Protocol):
    """A timetable that no django-celery-beat row can hold; it is kept as JSON with its `kind`."""

    KIND: ClassVar[str]

    def stored(self) -> dict[str, Any]:
        """Return it as JSON."""

    def written(self) -> tuple[str, str]:
        """Return what a user writes as `schedule`, and the time zone."""

    @classmethod
    def from_stored(cls, data: dict[str, Any]) -> Self:
        """Read what `stored` returned. Raises `InvalidInput`, KeyError or ValueError when it is something else."""


@dataclass(frozen=True, kw_only=True)
class Crontab:
    """A django-celery-beat crontab row: due when *all* five fields match the clock in `timezone`.

    At clock changes it does what Debian's cron does. A fixed time (neither minute nor hour begins with a
    star) that is skipped comes right after the gap, and one that is repeated comes once. Any other keeps
    its pace: it follows the clock on the wall, through a repeated hour twice.

    Raises `InvalidInput` for fields that Celery would not accept; Sunday may also be 7.
    """

    minute: str = "*"
    hour: str = "*"
    day_of_month: str = "*"
    month_of_year: str = "*"
    day_of_week: str = "*"
    timezone: ZoneInfo

    def __post_init__(self) -> None:
        self.readings  # noqa: B018 - a wrong field is refused when it is given, not when it is due

    @property
    def is_fixed(self) -> bool:
        """Whether it comes at fixed times of the day, rather than keeping a pace."""
        return not (self.minute.startswith("*") or self.hour.startswith("*"))

    def after(self, moment: datetime) -> datetime | None:
        return first_on(self, moment)

    def reading_after(self, reading: datetime) -> datetime | None:
        """Return the first naive reading strictly after another that all fields match, clock changes aside."""
        return self.readings.after(reading)

    def words(self) -> str:
        texts = (self.minute, self.hour, self.day_of_month, self.month_of_year, self.day_of_week)
        words = cronwords.sentence(*astuple(self.readings)) or f"as the cron string {' '.join(texts)} says"
        return f"{words}, {self.timezone.key}"

    @cached_property
    def readings(self) -> Readings:
        """What the clock shows when this is due, clock changes aside."""
        return Readings.of(self.minute, self.hour, self.day_of_month, self.month_of_year, self.day_of_week)


@dataclass(frozen=True, kw_only=True)
class Every:
    """Due at `anchor` + k * `period` for every k from 1: a fixed origin, so nothing drifts.

    Time is counted in UTC, whatever zone the moments come in: clock changes make no interval longer or shorter.
    Raises `InvalidInput` for a period that is not positive.
    """

    period: timedelta
    anchor: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "anchor", utc(self.anchor))
        if self.period <= timedelta(0):
            raise InvalidInput(f"an interval of {self.period} cannot be; it must be longer than nothing")

    def after(self, moment: datetime) -> datetime | None:
        return within_the_calendar(self._first, moment)

    def _first(self, moment: datetime) -> datetime:
        times = max(0, (utc(moment) - self.anchor) // self.period) + 1
        return self.anchor + times * self.period

    def words(self) -> str:
        if self.period % timedelta(milliseconds=1):
            count = self.period // timedelta(microseconds=1)
            return "every microsecond" if count == 1 else f"every {count} microseconds"
        words = durations.words(self.period)
        return f"every {words.removeprefix('1 ') if words.count(' ') == 1 else words}"


@dataclass(frozen=True, kw_only=True)
class Once:
    """Due at one moment."""

    at: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", utc(self.at))

    def after(self, moment: datetime) -> datetime | None:
        return within_the_calendar(lambda after: self.at if self.at > utc(after) else None, moment)

    def words(self) -> str:
        at = self.at
        return f"once, at {at:%Y-%m-%d %H:%M:%S} UTC" if at.second else f"once, at {at:%Y-%m-%d %H:%M} UTC"


def upcoming(timetable: Timetable, *, after: datetime, count: int, until: datetime | None = None) -> list[datetime]:
    """Return up to `count` instants strictly after `after`, none of them later than `until`."""
    instants: list[datetime] = []
    while len(instants) < count:
        instant = timetable.after(instants[-1] if instants else after)
        if instant is None or (until is not None and instant > until):
            break
        instants.append(instant)
    return instants


STORED_KINDS: Final[Mapping[str, type[StoredTimetable]]] = {kind.KIND: kind for kind in (MonthlyCrontab, Recurrence)}
"""The kinds beyond django-celery-beat's: a class each."""


def stored_timetable(data: dict[str, Any]) -> StoredTimetable:
    """Read what a `StoredTimetable` is kept as. Raises `InvalidInput` for an unknown kind and for nonsense."""
    kind = str(data.get("kind")) if isinstance(data, dict) else ""
    if kind not in STORED_KINDS:
        raise InvalidInput(f"{kind!r:.80} is not a kind of schedule that is known; known are {', '.join(STORED_KINDS)}")
    try:
        return STORED_KINDS[kind].from_stored(data)
    except (KeyError, TypeError, ValueError, ZoneInfoNotFoundError) as error:
        raise InvalidInput(f"a stored schedule of the kind {kind!r} cannot be read: {error!r:.200}") from error


def parse_schedule(text: str, *, timezone: ZoneInfo, anchor: datetime) -> Timetable:
    """Read what a user writes as `schedule`: a cron string of five fields, a duration such as `90s`, or an RRULE.

    The fields of a Crontab are valid in a django-celery-beat row; a cron string with `L` or `#` becomes a
    MonthlyCrontab, an RRULE a Recurrence. Raises `InvalidInput` with the reason: a field out of range, no day
    that ever matches, syntax that crons disagree on.
    """
    if is_rule(text):
        return _recurrence(text, timezone)
    words = text.split()
    if len(words) == 1 and not words[0].startswith("@"):
        return _every(words[0], anchor)
    if len(words) != 5:
        raise InvalidInput(_why_not_five(text, words))
    if len(text) > LONGEST_CRON_STRING:
        raise InvalidInput(f"a cron string has at most {LONGEST_CRON_STRING} characters, this one {len(text)}")
    crontab = _crontab(text, words, timezone)
    if not crontab.readings.any_day_of_month and not crontab.readings.any_weekday:
        raise InvalidInput(
            f"{text!r} restricts both day of month and day of week: cron runs when either matches, Celery only when "
            "both do; leave one of them '*', or make two jobs"
        )
    if crontab.after(anchor) is None:
        raise InvalidInput(f"{text!r} never comes: none of its months has such a day")
    return crontab


def _recurrence(text: str, timezone: ZoneInfo) -> Recurrence:
    try:
        return Recurrence.parse(text, timezone=timezone)
    except InvalidInput as error:
        raise InvalidInput(f"{' '.join(text.split())!r:.120} is not a schedule: {error.message}") from error


def _crontab(text: str, words: list[str], timezone: ZoneInfo) -> Crontab | MonthlyCrontab:
    try:
        if re.search(r"(?i)(?<![a-z])(?:\d*|L)W(?![a-z])", text):
            raise InvalidInput("'W' (the nearest weekday) is not supported")
        if counts_days(words):
            return MonthlyCrontab.parse(words, timezone=timezone)
        fields = [cronfields.normalised(field, word) for field, word in zip(cronfields.FIELDS, words, strict=True)]
    except InvalidInput as error:
        raise InvalidInput(f"{text!r} is not a cron string: {error.message}") from error
    return Crontab(
        minute=fields[0],
        hour=fields[1],
        day_of_month=fields[2],
        month_of_year=fields[3],
        day_of_week=fields[4],
        timezone=timezone,
    )


def _every(word: str, anchor: datetime) -> Every:
    if word.isdigit():
        raise InvalidInput(f"{word} has no unit; write {word}s for every {word} seconds, or a cron string")
    try:
        period = durations.parse(word)
    except InvalidInput as error:
        raise InvalidInput(
            f"{word!r} is neither a cron string of five fields nor a duration such as 90s or 1h30m"
        ) from error
    if period < SECOND or period % SECOND:
        raise InvalidInput(f"{word!r}: an interval is counted in whole seconds, from 1s")
    return Every(period=period, anchor=anchor)


def _why_not_five(text: str, words: list[str]) -> str:
    if not words:
        return "a schedule is empty; write a cron string of five fields, or a duration such as 90s"
    if words[0].startswith("@"):
        return f"{text!r}: names such as @daily are not supported; write five fields, such as '0 0 * * *'"
    fields = ", ".join(field.name for field in cronfields.FIELDS)
    return f"{text!r} has {len(words)} fields; a cron string has five: {fields}"
