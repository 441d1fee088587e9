"""Fields of a crontab: rows as Celery reads them, cron strings as every cron reads them."""

from __future__ import annotations

import pytest
from celery.schedules import crontab_parser
from django_celery_beat import validators
from hypothesis import given, settings
from hypothesis import strategies as st

from jobsched.domain.cronfields import (
    DAY_OF_MONTH,
    DAY_OF_WEEK,
    DAYS,
    FIELDS,
    HOUR,
    MINUTE,
    MONTH,
    MONTHS,
    Field,
    normalised,
    row_numbers,
)
from jobsched.domain.errors import InvalidInput

VALIDATORS = {
    MINUTE: validators.minute_validator,
    HOUR: validators.hour_validator,
    DAY_OF_MONTH: validators.day_of_month_validator,
    MONTH: validators.month_of_year_validator,
    DAY_OF_WEEK: validators.day_of_week_validator,
}
LONGEST = {MINUTE: 240, HOUR: 96, DAY_OF_MONTH: 124, MONTH: 64, DAY_OF_WEEK: 64}


def celery_numbers(field: Field, text: str) -> set[int]:
    return set(crontab_parser(field.high - field.low + 1, field.low).parse(text))


@st.composite
def rows(draw: st.DrawFn) -> tuple[Field, str]:
    """A field and a text that Celery's grammar can produce, wrap-around ranges and names included."""
    field = draw(st.sampled_from(FIELDS))
    numbers = st.integers(field.low, field.high).map(str)
    names = st.sampled_from(field.names or ("1",)).flatmap(
        lambda name: st.sampled_from([name, name.upper(), name.title()])
    )
    number = numbers | names
    base = st.just("*") | st.builds("{}-{}".format, number, number)
    stepped = st.builds("{}/{}".format, base, st.integers(1, 70))
    terms = st.lists(base | stepped | number, min_size=1, max_size=4)
    return field, ",".join(draw(terms))


@given(rows())
@settings(max_examples=150)
def test_a_row_means_what_celery_makes_of_it(row: tuple[Field, str]) -> None:
    field, text = row
    assert row_numbers(field, text) == celery_numbers(field, text)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        (MINUTE, ""),
        (MINUTE, "60"),
        (MINUTE, "1,,2"),
        (MINUTE, "1,"),
        (MINUTE, "*/0"),
        (MINUTE, "*/"),
        (MINUTE, "*/x"),
        (MINUTE, "5/15"),
        (MINUTE, "-1"),
        (MINUTE, "1-"),
        (HOUR, "24"),
        (HOUR, "1.5"),
        (DAY_OF_MONTH, "0"),
        (DAY_OF_MONTH, "32"),
        (DAY_OF_MONTH, "L"),
        (MONTH, "13"),
        (MONTH, "foo"),
        (DAY_OF_WEEK, "8"),
        (DAY_OF_WEEK, "?"),
    ],
)
def test_a_row_that_celery_refuses_is_refused_with_a_sentence(field: Field, text: str) -> None:
    with pytest.raises((ValueError, crontab_parser.ParseException)):
        celery_numbers(field, text)
    with pytest.raises(InvalidInput, match=field.name):
        row_numbers(field, text)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("7", {0}), ("5-7", {5, 6, 0}), ("7-2", {0, 1, 2}), ("0-7", set(range(7))), ("5-7/2", {5, 0}), ("sun", {0})],
)
def test_sunday_may_be_7_in_a_row_as_its_help_text_says(text: str, numbers: set[int]) -> None:
    assert row_numbers(DAY_OF_WEEK, text) == numbers


@pytest.mark.parametrize(
    ("field", "text", "result"),
    [
        (MINUTE, "*", "*"),
        (MINUTE, "*/15", "*/15"),
        (MINUTE, "0,30", "0,30"),
        (MINUTE, "007", "7"),
        (MINUTE, "1-59/2", "1-59/2"),
        (MINUTE, "*/10,5", "*/10,5"),
        (MINUTE, "*/10,10,20", "*/10"),
        (MINUTE, "1,1,1,1,1", "1"),
        (MONTH, "JAN-Mar,dec", "1-3,12"),
        (DAY_OF_WEEK, "mon-fri", "1-5"),
        (DAY_OF_WEEK, "7", "0"),
        (DAY_OF_WEEK, "5-7", "0,5,6"),
        (DAY_OF_WEEK, "1-7", "0,1,2,3,4,5,6"),
        (DAY_OF_WEEK, "*/2", "*/2"),
    ],
)
def test_a_cron_string_is_normalised(field: Field, text: str, result: str) -> None:
    assert normalised(field, text) == result


@st.composite
def cron_terms(draw: st.DrawFn) -> tuple[Field, str]:
    field = draw(st.sampled_from(FIELDS))
    high = 7 if field is DAY_OF_WEEK else field.high
    number = st.integers(field.low, high)
    spans = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    base = st.just("*") | spans
    stepped = st.builds("{}/{}".format, base, st.integers(1, field.high))
    return field, ",".join(draw(st.lists(base | stepped | number.map(str), min_size=1, max_size=30)))


@given(cron_terms())
@settings(max_examples=150)
def test_a_normalised_field_fits_a_row_and_means_the_same(field_and_text: tuple[Field, str]) -> None:
    field, text = field_and_text
    result = normalised(field, text)
    VALIDATORS[field](result)
    assert len(result) <= LONGEST[field]
    assert celery_numbers(field, result) == row_numbers(field, text)
    assert result.startswith("*") == text.startswith("*")


@pytest.mark.parametrize(
    ("field", "text", "reason"),
    [
        (MINUTE, "61", "minute 61 is outside 0-59"),
        (MINUTE, "5/15", "write 5-59/15"),
        (HOUR, "22-2", "write it as two ranges, 22-23,0-2"),
        (HOUR, "23-0", "write it as two ranges, 23,0"),
        (MINUTE, "*/60", "a number from 1 to 59"),
        (MINUTE, "*/0", "a number from 1 to 59"),
        (MINUTE, "jan", "is not a number from 0 to 59"),
        (DAY_OF_WEEK, "monday", "one of sun, mon"),
        (DAY_OF_WEEK, "5#2", "'#'"),
        (DAY_OF_MONTH, "?", "write '\\*' for any"),
        (MINUTE, "1,", "empty place between commas"),
        (MINUTE, "1..5", "is not a number, a range or a step"),
        (MINUTE, "99999999999999999999", "is not a number from 0 to 59"),
    ],
)
def test_what_crons_disagree_on_is_refused_with_what_to_write(field: Field, text: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        normalised(field, text)


def test_names_are_those_of_cron() -> None:
    assert [row_numbers(MONTH, name) for name in MONTHS] == [{n} for n in range(1, 13)]
    assert [row_numbers(DAY_OF_WEEK, name) for name in DAYS] == [{n} for n in range(7)]
