"""The words of schedules say what the instants are: sentences are read back, part by part, and held against them."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import pytest

from jobsched.domain.errors import InvalidInput
from jobsched.domain.monthlycrontab import MonthlyCrontab
from jobsched.domain.recurrence import Recurrence
from jobsched.domain.timetables import Crontab, Every, parse_schedule
from jobsched.domain.wallclock import changes

SEED = 20261128
STRINGS = 1500
FIRST = datetime(2027, 11, 1)
DAYS = 550
"""From November 2027 on: a leap day, two turns of the year, every month with every day of the week."""
ZONES = ["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/New_York", "Australia/Lord_Howe"]
WEEK = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October"]
MONTHS += ["November", "December"]
ORDINALS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "last": -1}

Test = Callable[[datetime], bool]


def listed(text: str) -> list[str]:
    return re.split(r", | and | or ", text)


def minute_of_day(text: str) -> int:
    hour, minute = text.split(":")
    return int(hour) * 60 + int(minute)


def time_of(text: str) -> Test | None:
    """Read the words for the time of day; None for words that are not known."""

    def now(reading: datetime) -> int:
        return reading.hour * 60 + reading.minute

    if text == "every minute":
        return lambda reading: True
    if found := re.fullmatch(r"every (\d+) minutes", text):
        step = int(found[1])
        # An hour must be a whole number of steps, or they are not as far apart from one hour to the next.
        return (lambda reading: now(reading) % step == 0) if 60 % step == 0 else (lambda reading: False)
    if found := re.fullmatch(r"at (\d\d:\d\d(?:(?:, | and )\d\d:\d\d)*)", text):
        times = {minute_of_day(one) for one in listed(found[1])}
        return lambda reading: now(reading) in times
    if found := re.fullmatch(r"at minutes? ([\d, and]+) of every hour(?: from (\S+) to (\S+))?", text):
        minutes = {int(one) for one in listed(found[1])}
        begin, end = (minute_of_day(found[2]), minute_of_day(found[3])) if found[2] else (0, 1439)
        return lambda reading: reading.minute in minutes and begin <= now(reading) <= end
    if found := re.fullmatch(r"every (?:(\d+) minutes|minute) from minute (\d+) to minute (\d+) of every hour", text):
        minutes = set(range(int(found[2]), int(found[3]) + 1, int(found[1] or 1)))
        assert int(found[3]) in minutes
        return lambda reading: reading.minute in minutes
    if found := re.fullmatch(r"every (?:(\d+) )?(minute|hour)s? from (\d\d:\d\d) to (\d\d:\d\d)", text):
        begin, end = minute_of_day(found[3]), minute_of_day(found[4])
        times = set(range(begin, end + 1, int(found[1] or 1) * (60 if found[2] == "hour" else 1)))
        assert end in times
        return lambda reading: now(reading) in times
    return None


def day_of(text: str) -> Test | None:
    """Read the words for one kind of day, such as `day 3`, `Monday` or `the last Friday`."""
    text = text.removeprefix("every ")
    if text in WEEK:
        return lambda reading: WEEK[reading.weekday()] == text
    if found := re.fullmatch(r"(?:days? )?(\d+)", text):
        return lambda reading: reading.day == int(found[1])
    if text == "the last day":
        return lambda reading: (reading + timedelta(days=1)).day == 1
    if found := re.fullmatch(rf"the ({'|'.join(ORDINALS)}) ({'|'.join(WEEK)})", text):
        nth = ORDINALS[found[1]]
        in_place: Test = (
            (lambda reading: (reading + timedelta(days=7)).month != reading.month)
            if nth < 0
            else (lambda reading: (reading.day + 6) // 7 == nth)
        )
        return lambda reading: WEEK[reading.weekday()] == found[2] and in_place(reading)
    return None


def any_of(texts: list[str]) -> Test | None:
    tests = [day_of(text) for text in texts]
    known = [test for test in tests if test is not None]
    return (lambda reading: any(test(reading) for test in known)) if len(known) == len(tests) else None


def days_of(text: str) -> Test | None:
    """Read the words for the days."""
    if text in ("", "every day"):
        return lambda reading: True
    if found := re.fullmatch(rf"from ({'|'.join(WEEK)}) to ({'|'.join(WEEK)})", text):
        first, last = WEEK.index(found[1]), WEEK.index(found[2])
        return lambda reading: first <= reading.weekday() <= last
    if found := re.fullmatch(
        r"on days (\d+) to (\d+)(?: in steps of (\d+))? of the month(?: if that is a (.*))?", text
    ):
        days = set(range(int(found[1]), int(found[2]) + 1, int(found[3] or 1)))
        week = any_of(listed(found[4])) if found[4] else lambda reading: True
        assert int(found[2]) in days and week is not None
        return lambda reading: reading.day in days and week(reading)
    if found := re.fullmatch(r"on (.*) of the month if that is (?:a )?(.*)", text):
        both = any_of(listed(found[1])), any_of(listed(found[2]))
        month, week = both
        return (lambda reading: month(reading) and week(reading)) if month and week else None
    if found := re.fullmatch(r"on (.*?)(?: of the month)?", text):
        return any_of(listed(found[1]))
    return None


def months_of(text: str) -> Test:
    if found := re.fullmatch(r"from (\w+) to (\w+)", text):
        months = set(range(MONTHS.index(found[1]) + 1, MONTHS.index(found[2]) + 2))
    else:
        months = {MONTHS.index(name) + 1 for name in listed(text)}
    return lambda reading: reading.month in months


def read(words: str) -> tuple[Test, Test]:
    """Return which times of the day and which days the words of a crontab say."""
    name = f"(?:{'|'.join(MONTHS)})"
    month = rf"(?: (?:in ((?:{name}(?:, | and )?)+)|(from {name} to {name})))?"
    found = re.fullmatch(
        rf"(.*?),?(?: (every day|on .*?|from (?:{'|'.join(WEEK)}) to (?:{'|'.join(WEEK)})))?{month}", words
    )
    assert found, words
    clock, day, of = time_of(found[1]), days_of(found[2] or ""), found[3] or found[4]
    assert clock is not None and day is not None, f"not understood: {words!r} as {found.groups()}"
    in_month = months_of(of) if of else lambda reading: True
    return clock, lambda reading: day(reading) and in_month(reading)


def field(dice: random.Random, low: int, high: int, *, wrap: bool) -> str:
    def number() -> int:
        return dice.randint(low, high)

    def term() -> str:
        first, last = number(), number()
        if first > last and not wrap:
            first, last = last, first
        step = dice.randint(1, high)
        return dice.choice([f"{first}", f"{first}", f"{first}-{last}", f"{first}-{last}/{step}", f"*/{step}"])

    if dice.random() < 0.3:
        return "*"
    return ",".join(term() for _ in range(dice.choice([1, 1, 1, 2, 3])))


def crontabs(dice: random.Random) -> Crontab:
    """A row of django-celery-beat: wrapped ranges, and both kinds of days, as Celery reads them."""
    minute, hour, day, month, week = (
        field(dice, low, high, wrap=True) for low, high in ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
    )
    day, week = dice.choice([(day, "*"), ("*", week), ("*", "*"), (day, week)])
    if dice.random() < 0.6:
        month = "*"
    zone = ZoneInfo(dice.choice(ZONES))
    return Crontab(minute=minute, hour=hour, day_of_month=day, month_of_year=month, day_of_week=week, timezone=zone)


def counted(dice: random.Random) -> MonthlyCrontab | None:
    """A cron string with `L` and `#`."""
    days = dice.choice(["L", "L", "1,L", "15,L", "*,L", "1-30,L", "*"])
    names = ["mon", "tue", "sat", "sun", "0", "5", "7"]
    weeks = [dice.choice(names) + dice.choice(["L", "#1", "#2", "#5", ""]) for _ in range(dice.choice([1, 1, 2]))]
    week = "*" if days != "*" and dice.random() < 0.6 else ",".join(weeks)
    fields = [
        field(dice, 0, 59, wrap=False),
        field(dice, 0, 23, wrap=False),
        days,
        dice.choice(["*", "1-3", "2"]),
        week,
    ]
    try:
        return MonthlyCrontab.parse(fields, timezone=ZoneInfo(dice.choice(ZONES)))
    except InvalidInput:
        return None


def due(timetable: Crontab | MonthlyCrontab) -> tuple[set[time], set[datetime]]:
    """Return the times and the days of a timetable's instants, as the clock of its zone shows them."""
    zone = timetable.timezone
    changed = {
        change.astimezone(zone).date() for change in changes(zone, FIRST.replace(tzinfo=UTC), end().replace(tzinfo=UTC))
    }
    times: set[time] = set()
    days: set[datetime] = set()
    moment = FIRST.replace(tzinfo=zone) - timedelta(seconds=1)
    while (instant := timetable.after(moment)) is not None:
        local = instant.astimezone(zone).replace(tzinfo=None)
        if local >= end():
            break
        day = datetime.combine(local.date(), time())
        if not times and local.date() not in changed:
            following: datetime | None = instant
            while following is not None and following.astimezone(zone).date() == local.date():
                times.add(following.astimezone(zone).time())
                following = timetable.after(following)
        days.add(day)
        moment = (day + timedelta(days=1)).replace(tzinfo=zone) - timedelta(seconds=1)
    # On these, fixed times may come a little later than the clock says, and others not at all.
    return times, {day for day in days if day.date() not in changed}


def end() -> datetime:
    return FIRST + timedelta(days=DAYS)


def disagreement(timetable: Crontab | MonthlyCrontab, words: str) -> str | None:
    """Return what is wrong with words, or None."""
    clock, day = read(words)
    times, days = due(timetable)
    zone = timetable.timezone
    changed = {
        change.astimezone(zone).date() for change in changes(zone, FIRST.replace(tzinfo=UTC), end().replace(tzinfo=UTC))
    }
    said = {FIRST + timedelta(days=number) for number in range(DAYS)}
    said = {one for one in said if day(one) and one.date() not in changed}
    if said != days:
        return f"{timetable} is not due on {sorted(said ^ days)[:3]} as {words!r} says"
    said_times = {time(n // 60, n % 60) for n in range(1440) if clock(FIRST + timedelta(minutes=n))}
    return f"{timetable} is due at other times than {words!r} says" if times and said_times != times else None


def test_the_words_of_crontabs_say_what_their_instants_are() -> None:
    dice = random.Random(SEED)
    made = [crontabs(dice) if dice.random() < 0.75 else counted(dice) for _ in range(STRINGS)]
    without = 0
    wrong: list[str] = []
    for timetable in made:
        if timetable is None:
            continue
        words, _, zone = timetable.words().rpartition(", ")
        assert zone == timetable.timezone.key
        if words.startswith("as the cron string "):
            without += 1
        elif found := disagreement(timetable, words):
            wrong.append(found)
    assert not wrong, f"{len(wrong)} of {len(made)}:\n" + "\n".join(wrong[:20])
    assert without < 0.8 * len(made)


COMMON = [
    ("0 2 * * *", "at 02:00 every day"),
    ("0 2,14 * * *", "at 02:00 and 14:00 every day"),
    ("*/15 9-17 * * mon-fri", "every 15 minutes from 09:00 to 17:45, from Monday to Friday"),
    ("0 * * * *", "at minute 0 of every hour"),
    ("*/31 * * * *", "at minutes 0 and 31 of every hour"),
    ("*/7 * * * *", "every 7 minutes from minute 0 to minute 56 of every hour"),
    ("0 */5 * * *", "every 5 hours from 00:00 to 20:00 every day"),
    ("30 8 */14 * *", "at 08:30 on days 1, 15 and 29 of the month"),
    ("0 0 */2 * *", "at 00:00 on days 1 to 31 in steps of 2 of the month"),
    ("0 0 * * 5-7", "at 00:00, from Friday to Sunday"),
    ("0 0 1 1,7 *", "at 00:00 on day 1 of the month in January and July"),
    ("*/5,*/7 * * * *", "as the cron string */5,7,14,21,28,42,49,56 * * * * says"),
    ("0 3 L * *", "at 03:00 on the last day of the month"),
    ("0 3 *,L * *", "at 03:00 every day"),
    ("0 9 * * tue#2,friL", "at 09:00 on the second Tuesday and the last Friday of the month"),
]


@pytest.mark.parametrize(("text", "words"), COMMON)
def test_common_crontabs_have_these_words(text: str, words: str) -> None:
    timetable = parse_schedule(text, timezone=ZoneInfo("Europe/Berlin"), anchor=FIRST.replace(tzinfo=UTC))
    assert timetable.words() == f"{words}, Europe/Berlin"


@pytest.mark.parametrize(
    ("period", "words"),
    [
        (timedelta(microseconds=1), "every microsecond"),
        (timedelta(microseconds=1500), "every 1500 microseconds"),
        (timedelta(milliseconds=1), "every millisecond"),
        (timedelta(seconds=90), "every 90 seconds"),
        (timedelta(days=14), "every 14 days"),
    ],
)
def test_the_words_of_intervals_say_their_period(period: timedelta, words: str) -> None:
    assert Every(period=period, anchor=FIRST.replace(tzinfo=UTC)).words() == words


def rule_of_words(words: str, start: datetime) -> Test:
    """Read the words of a recurrence rule that is counted from `start`."""
    time = r"at (\d\d:\d\d(?:(?:, | and )\d\d:\d\d)*)"
    if found := re.fullmatch(r"every (?:(\d+) )?(minute|hour)s?(?: at minute (\d+))?", words):
        unit = 60 if found[2] == "hour" else 1
        step, minute = int(found[1] or 1), int(found[3]) if found[3] else None
        begin = start.replace(minute=0) if unit == 60 else start
        return lambda at: (
            (at - begin) // timedelta(minutes=unit) % step == 0 and (minute is None or at.minute == minute)
        )
    if found := re.fullmatch(rf"{time} every (?:(\d+) )?days?(?: that is a (.*))?", words):
        week = any_of(listed(found[3])) if found[3] else lambda at: True
        step = int(found[2] or 1)
        assert week is not None
        return at_times(found[1], lambda at: (at.date() - start.date()).days % step == 0 and week(at))
    if found := re.fullmatch(rf"{time} every (?:(\d+) )?weeks? on (.*?)(?: in (.*))?", words):
        week, step = any_of(listed(found[3])), int(found[2] or 1)
        month = months_of(found[4]) if found[4] else lambda at: True
        monday = start.date() - timedelta(days=start.weekday())
        assert week is not None
        return at_times(found[1], lambda at: (at.date() - monday).days // 7 % step == 0 and week(at) and month(at))
    if found := re.fullmatch(rf"{time} on (.*) of every (?:(\d+) )?months?", words):
        day, step = any_of(listed(found[2])), int(found[3] or 1)
        assert day is not None, words
        return at_times(
            found[1], lambda at: (at.year * 12 + at.month - start.year * 12 - start.month) % step == 0 and day(at)
        )
    found = re.fullmatch(rf"{time} on (.*) of (every|[A-Z].*?,?) ?(?:every )?(?:(\d+) )?(?:years?)?", words)
    assert found, f"not understood: {words!r}"
    if found[3] == "every":
        day = any_in_year(listed(found[2]))
    else:
        month_day, of = any_of(listed(found[2])), months_of(found[3].rstrip(", "))
        assert month_day is not None, words
        day = lambda at: month_day(at) and of(at)  # noqa: E731 - one of two readings
    step = int(found[4] or 1)
    return at_times(found[1], lambda at: (at.year - start.year) % step == 0 and day(at))


def any_in_year(texts: list[str]) -> Test:
    """Read days that are counted in the year."""
    tests: list[Test] = []
    for text in texts:
        found = re.fullmatch(rf"every ({'|'.join(WEEK)})|the (\w+) ({'|'.join(WEEK)})", text)
        assert found, f"not understood: {text!r}"
        tests.append(partial(in_year, WEEK.index(found[1] or found[3]), found[2]))
    return lambda at: any(test(at) for test in tests)


def in_year(weekday: int, ordinal: str | None, at: datetime) -> bool:
    if at.weekday() != weekday:
        return False
    if ordinal is None:
        return True
    nth = ORDINALS.get(ordinal) or int(re.sub(r"\D", "", ordinal))
    return (at + timedelta(days=7)).year != at.year if nth < 0 else (at.timetuple().tm_yday + 6) // 7 == nth


def at_times(text: str, day: Test) -> Test:
    times = {minute_of_day(one) for one in listed(text)}
    return lambda at: at.hour * 60 + at.minute in times and day(at)


def rule(dice: random.Random) -> str:
    freq = dice.choice(["YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY"])
    parts = {"FREQ": freq}
    if dice.random() < 0.6:
        parts["INTERVAL"] = str(dice.choice([1, 2, 3, 5, 7]))
    if freq in ("YEARLY", "MONTHLY", "WEEKLY", "DAILY"):
        if dice.random() < 0.6:
            parts["BYHOUR"] = ",".join(str(dice.randint(0, 23)) for _ in range(dice.choice([1, 2])))
        if dice.random() < 0.5:
            parts["BYDAY"] = ",".join(
                (dice.choice(["", "1", "3", "-1"]) if freq in ("YEARLY", "MONTHLY") else "")
                + dice.choice(["MO", "FR", "SU"])
                for _ in range(dice.choice([1, 2]))
            )
        elif freq != "WEEKLY" and dice.random() < 0.5:
            parts["BYMONTHDAY"] = ",".join(str(dice.choice([1, 15, 29, 31, -1])) for _ in range(dice.choice([1, 2])))
        if dice.random() < 0.4:
            parts["BYMONTH"] = ",".join(str(dice.randint(1, 12)) for _ in range(dice.choice([1, 3])))
    start = (
        ""
        if dice.random() < 0.4
        else f"DTSTART:{dice.randint(1997, 2027)}0{dice.randint(1, 9)}15T093{dice.randint(0, 9)}00 "
    )
    return f"{start}RRULE:{';'.join(f'{name}={value}' for name, value in parts.items())}"


def test_the_words_of_rules_say_what_their_instants_are() -> None:
    dice = random.Random(SEED)
    spoken = 0
    for _ in range(200):
        text = rule(dice)
        try:
            timetable = parse_schedule(text, timezone=ZoneInfo("UTC"), anchor=FIRST.replace(tzinfo=UTC))
        except InvalidInput:
            continue
        assert isinstance(timetable, Recurrence)
        words = timetable.words().removesuffix(", UTC")
        if words.startswith("as RRULE:"):
            continue
        spoken += 1
        start = datetime(2000, 1, 1)
        if found := re.fullmatch(r"(.*), from (\S+ \S+) on", words):
            words, start = found[1], datetime.fromisoformat(found[2])
        asked = rule_of_words(words, start)
        reading, due = FIRST, list[datetime]()
        while (reading := timetable.reading_after(reading)) is not None and reading < end() and len(due) < 60:
            due.append(reading)
        assert all(asked(one) for one in due), f"{text} is not due when {words!r} says"
        until = due[-1] if len(due) == 60 else end()
        step = timedelta(minutes=1 if "HOURLY" in text or "MINUTELY" in text else 30)
        grid = [FIRST + n * step for n in range(1, int((until - FIRST) / step)) if FIRST + n * step < until]
        days = {one.date() for one in due}
        extra = [one for one in grid if asked(one) and one.date() not in days]
        assert not extra, f"{text}: {words!r} says {extra[:3]}, too"
    assert spoken > 75


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("RRULE:FREQ=DAILY;INTERVAL=2;BYDAY=MO", "as RRULE:FREQ=DAILY;INTERVAL=2;BYDAY=MO says"),
        ("RRULE:FREQ=MONTHLY;INTERVAL=5;BYMONTH=1,7", "as RRULE:FREQ=MONTHLY;INTERVAL=5;BYMONTH=1,7 says"),
        ("RRULE:FREQ=WEEKLY;INTERVAL=2;BYDAY=MO", "at 00:00 every 2 weeks on Monday"),
        ("RRULE:FREQ=MONTHLY;BYDAY=MO,1WE", "at 00:00 on every Monday and the first Wednesday of every month"),
        ("RRULE:FREQ=DAILY;UNTIL=20971231T235959", "at 00:00 every day, until 2097-12-31 23:59:59"),
        ("DTSTART:20970101T093015 RRULE:FREQ=HOURLY", "as RRULE:FREQ=HOURLY says, from 2097-01-01 09:30 on"),
    ],
)
def test_some_rules_have_these_words(text: str, words: str) -> None:
    timetable = parse_schedule(text, timezone=ZoneInfo("UTC"), anchor=FIRST.replace(tzinfo=UTC))
    assert timetable.words() == f"{words}, UTC"
