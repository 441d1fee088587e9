"""Rules in plain English, as far as a sentence says it better than the rule itself."""

from __future__ import annotations

from typing import Final

from jobsched.domain import english
from jobsched.domain.rrules import Rule

_UNITS: Final = {
    "YEARLY": "year",
    "MONTHLY": "month",
    "WEEKLY": "week",
    "DAILY": "day",
    "HOURLY": "hour",
    "MINUTELY": "minute",
}
_SAYABLE: Final = frozenset({"BYHOUR", "BYMINUTE", "BYMONTH", "BYMONTHDAY"})
_MOST_TIMES: Final = 4


def in_words(rule: Rule) -> str | None:
    """Return `at 09:00 on the second Tuesday of every month`, or None for a rule that would be hard to follow."""
    if rule.numbers.keys() - _SAYABLE or (rule.weekdays and "BYMONTHDAY" in rule.numbers):
        return None
    if rule.freq == "YEARLY" and "BYMONTHDAY" in rule.numbers and "BYMONTH" not in rule.numbers:
        return None
    if rule.start.second or _leaves_out(rule):
        return None
    end = _end(rule)
    often = f"every {_UNITS[rule.freq]}" if rule.interval == 1 else f"every {rule.interval} {_UNITS[rule.freq]}s"
    if rule.freq in ("HOURLY", "MINUTELY"):
        if rule.numbers or rule.weekdays:
            return None
        return f"{often}{f' at minute {rule.start.minute}' if rule.freq == 'HOURLY' else ''}{end}"
    hours = rule.of_day("BYHOUR", rule.start.hour)
    minutes = rule.of_day("BYMINUTE", rule.start.minute)
    if len(hours) * len(minutes) > _MOST_TIMES:
        return None
    days = _days(rule)
    if rule.freq == "DAILY":
        if rule.numbers.keys() & {"BYMONTH", "BYMONTHDAY"}:
            return None
        return f"{english.times(hours, minutes)} {often}{f' that is a {days}' if days else ''}{end}"
    if rule.freq == "WEEKLY":
        of = f"{often} on {days}"
        of += f" in {english.months(rule.numbers['BYMONTH'])}" if "BYMONTH" in rule.numbers else ""
        return f"{english.times(hours, minutes)} {of}{end}"
    return f"{english.times(hours, minutes)} on {days} of {_period(rule, often)}{end}"


def _leaves_out(rule: Rule) -> bool:
    """Tell whether an interval leaves out some of the days or months that are named: a sentence hides which."""
    if rule.interval == 1:
        return False
    match rule.freq:
        case "DAILY":
            return bool(rule.weekdays)
        case "WEEKLY":
            return "BYMONTH" in rule.numbers or (rule.week_start != 0 and len(rule.weekdays) > 1)
        case "MONTHLY":
            return "BYMONTH" in rule.numbers
        case _:
            return False


def _end(rule: Rule) -> str:
    if rule.count:
        return f", {rule.count} time{'s' if rule.count > 1 else ''}"
    if rule.until is None:
        return ""
    return f", until {rule.until:%Y-%m-%d %H:%M}{f':{rule.until:%S}' if rule.until.second else ''}"


def _days(rule: Rule) -> str:
    if rule.weekdays and rule.freq in ("WEEKLY", "DAILY"):
        names = [english.WEEKDAYS[(day + 1) % 7] for day, _ in rule.weekdays]
        return english.listed(names, joined_by="and" if rule.freq == "WEEKLY" else "or")
    if rule.weekdays:
        return english.listed(
            [
                f"the {english.ordinal(nth)} {english.WEEKDAYS[(day + 1) % 7]}"
                if nth
                else f"every {english.WEEKDAYS[(day + 1) % 7]}"
                for day, nth in rule.weekdays
            ]
        )
    if rule.freq == "WEEKLY":
        return english.WEEKDAYS[rule.start.isoweekday() % 7]
    if rule.freq == "DAILY":
        return ""
    days = rule.numbers.get("BYMONTHDAY", (rule.start.day,))
    return english.listed([f"day {day}" if day > 0 else f"the {english.ordinal(day)} day" for day in days])


def _period(rule: Rule, often: str) -> str:
    months = rule.numbers.get("BYMONTH")
    if rule.freq == "MONTHLY":
        if months:
            return english.months(months) + ("" if rule.interval == 1 else f", {often}")
        return often
    if rule.weekdays and not months:
        return often
    return f"{english.months(months or (rule.start.month,))}, {often}"
