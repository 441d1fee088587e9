"""When something is due. A timetable answers one question: what is the first instant after this one?"""

from __future__ import annotations

import re
from dataclasses import astuple, dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from cron_descriptor import Options, get_description

from jobsched.domain import cronfields, durations
from jobsched.domain.errors import InvalidInput
from jobsched.domain.readings import Readings

LONGEST_CRON_STRING: Final = 200
_SECOND: Final = timedelta(seconds=1)


class Timetable(Protocol):
    """Says when something is due."""

    def after(self, moment: datetime) -> datetime | None:
        """Return the first instant strictly after an aware `moment`, in UTC; None when there is none."""

    def words(self) -> str:
        """Return the timetable in plain English."""


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

    def after(self, moment: datetime) -> datetime | None:
        local = _aware(moment).astimezone(self.timezone)
        if self.minute.startswith("*") or self.hour.startswith("*"):
            return self._paced(local)
        return self._fixed(local)

    def words(self) -> str:
        texts = (self.minute, self.hour, self.day_of_month, self.month_of_year, self.day_of_week)
        fields = [
            text if text.startswith("*") else ",".join(_ranges(numbers))
            for text, numbers in zip(texts, astuple(self.readings), strict=True)
        ]
        return f"{get_description(' '.join(fields), Options())}, {self.timezone.key}"

    @cached_property
    def readings(self) -> Readings:
        """What the clock shows when this is due, clock changes aside."""
        return Readings.of(self.minute, self.hour, self.day_of_month, self.month_of_year, self.day_of_week)

    def _fixed(self, local: datetime) -> datetime | None:
        moment, reading = local.astimezone(UTC), _shown(local)
        while (following := self.readings.after(reading)) is not None:
            due = following.replace(tzinfo=self.timezone).astimezone(UTC)
            if _shown(due.astimezone(self.timezone)) != following:
                # The clock skips this reading, so `due` lies as far beyond the gap as the reading lies in it.
                due = _change(self.timezone, due - timedelta(days=1), due)
            if due > moment:
                return due
            reading = following
        return None

    def _paced(self, local: datetime) -> datetime | None:
        moment, reading = local.astimezone(UTC), _shown(local)
        goes_back = self._goes_back(local)
        while (following := self.readings.after(reading)) is not None:
            due = following.replace(tzinfo=self.timezone).astimezone(UTC)
            if due <= moment:  # its first pass is over
                due = following.replace(tzinfo=self.timezone, fold=1).astimezone(UTC)
            if goes_back is not None and due >= goes_back:
                # Before the clock shows that reading it goes back, to readings that may match again.
                moment, reading = goes_back - _SECOND, _shown(goes_back.astimezone(self.timezone)) - _SECOND
                goes_back = None
            elif _shown(due.astimezone(self.timezone)) == following:
                return due
            else:  # skipped by the clock
                reading = following
        return None

    def _goes_back(self, local: datetime) -> datetime | None:
        """Return the instant at which the clock goes back, if `local` is in the first of two passes."""
        again = local.replace(microsecond=0, fold=1)
        if local.fold == 1 or again.utcoffset() == local.utcoffset():
            return None
        first = local.replace(microsecond=0)
        return _change(self.timezone, first.astimezone(UTC), again.astimezone(UTC))


@dataclass(frozen=True, kw_only=True)
class Every:
    """Due at `anchor` + k * `period` for every k from 1: a fixed origin, so nothing drifts.

    Raises `InvalidInput` for a period that is not positive.
    """

    period: timedelta
    anchor: datetime

    def __post_init__(self) -> None:
        _aware(self.anchor)
        if self.period <= timedelta(0):
            raise InvalidInput(f"an interval of {self.period} cannot be; it must be longer than nothing")

    def after(self, moment: datetime) -> datetime | None:
        times = max(0, (_aware(moment) - self.anchor) // self.period) + 1
        try:
            return (self.anchor + times * self.period).astimezone(UTC)
        except OverflowError:  # beyond the year 9999
            return None

    def words(self) -> str:
        words = durations.words(self.period)
        return f"every {words.removeprefix('1 ') if words.count(' ') == 1 else words}"


@dataclass(frozen=True, kw_only=True)
class Once:
    """Due at one moment."""

    at: datetime

    def __post_init__(self) -> None:
        _aware(self.at)

    def after(self, moment: datetime) -> datetime | None:
        return self.at.astimezone(UTC) if self.at > _aware(moment) else None

    def words(self) -> str:
        at = self.at.astimezone(UTC)
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


def parse_schedule(text: str, *, timezone: ZoneInfo, anchor: datetime) -> Crontab | Every:
    """Read what a user writes as `schedule`: a cron string of five fields, or a duration such as `90s`.

    The fields of the Crontab are valid in a django-celery-beat row. Raises `InvalidInput` with the reason:
    a field out of range, no day that ever matches, syntax that crons disagree on.
    """
    words = text.split()
    if len(words) == 1 and not words[0].startswith("@"):
        return _every(words[0], anchor)
    if len(words) != 5:
        raise InvalidInput(_why_not_five(text, words))
    if len(text) > LONGEST_CRON_STRING:
        raise InvalidInput(f"a cron string has at most {LONGEST_CRON_STRING} characters, this one {len(text)}")
    try:
        if re.search(r"(?i)(?<![a-z])(?:\d*[LW]|LW)(?![a-z])", text):
            raise InvalidInput("'L' and 'W' (last day, nearest weekday) are not supported")
        fields = [cronfields.normalised(field, word) for field, word in zip(cronfields.FIELDS, words, strict=True)]
    except InvalidInput as error:
        raise InvalidInput(f"{text!r} is not a cron string: {error.message}") from error
    crontab = Crontab(
        minute=fields[0],
        hour=fields[1],
        day_of_month=fields[2],
        month_of_year=fields[3],
        day_of_week=fields[4],
        timezone=timezone,
    )
    days, weekdays = crontab.readings.days, crontab.readings.weekdays
    if len(days) < len(cronfields.DAY_OF_MONTH.full) and len(weekdays) < len(cronfields.DAY_OF_WEEK.full):
        raise InvalidInput(
            f"{text!r} restricts both day of month and day of week: cron runs when either matches, Celery only when "
            "both do; leave one of them '*', or make two jobs"
        )
    if crontab.after(anchor) is None:
        raise InvalidInput(f"{text!r} never comes: none of its months has such a day")
    return crontab


def _every(word: str, anchor: datetime) -> Every:
    if word.isdigit():
        raise InvalidInput(f"{word} has no unit; write {word}s for every {word} seconds, or a cron string")
    try:
        period = durations.parse(word)
    except InvalidInput as error:
        raise InvalidInput(
            f"{word!r} is neither a cron string of five fields nor a duration such as 90s or 1h30m"
        ) from error
    if period < _SECOND or period % _SECOND:
        raise InvalidInput(f"{word!r}: an interval is counted in whole seconds, from 1s")
    return Every(period=period, anchor=anchor)


def _why_not_five(text: str, words: list[str]) -> str:
    if not words:
        return "a schedule is empty; write a cron string of five fields, or a duration such as 90s"
    if words[0].startswith("@"):
        return f"{text!r}: names such as @daily are not supported; write five fields, such as '0 0 * * *'"
    fields = ", ".join(field.name for field in cronfields.FIELDS)
    return f"{text!r} has {len(words)} fields; a cron string has five: {fields}"


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone")
    return moment


def _shown(local: datetime) -> datetime:
    """Return what the clock on the wall shows: the same for both passes through a repeated hour."""
    return local.replace(tzinfo=None, fold=0)


def _change(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """Return the instant between two others in UTC, to the second, at which a zone's offset changes."""
    offset = after.astimezone(zone).utcoffset()
    while after - before > _SECOND:
        middle = before + (after - before) // (2 * _SECOND) * _SECOND
        if middle.astimezone(zone).utcoffset() == offset:
            after = middle
        else:
            before = middle
    return after


def _ranges(numbers: tuple[int, ...]) -> list[str]:
    """Write numbers as a cron field does, runs of three and more as a range."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return [
        part for run in runs for part in ([f"{run[0]}-{run[-1]}"] if len(run) > 2 else [str(number) for number in run])
    ]
