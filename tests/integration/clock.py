"""A clock for the database that tests set: `clock_timestamp()` of a schema that is searched before PostgreSQL's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from django.db import connection


class DatabaseClock:
    """What statements and triggers of Django's connection read as the present moment. It stands still unless `step`
    says how far each reading moves it."""

    def set(self, moment: datetime, *, step: timedelta = timedelta(0)) -> None:
        """Show this moment from now on."""
        with connection.cursor() as cursor:
            cursor.execute("UPDATE test_clock.reading SET shows = %s, step = %s", [moment, step])
            cursor.execute("SELECT setval('test_clock.readings', 1, false)")

    def now(self) -> datetime:
        """Return the present moment, in UTC."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT test_clock.clock_timestamp()")
            moment: datetime = cursor.fetchone()[0]
        return moment.astimezone(UTC)

    def advance(self, length: timedelta) -> datetime:
        """Let time pass, and return the new present."""
        with connection.cursor() as cursor:
            cursor.execute("UPDATE test_clock.reading SET shows = shows + %s", [length])
        return self.now()


@contextmanager
def database_clock() -> Iterator[DatabaseClock]:
    """Put the clock in place on Django's connection, and take it away at the end."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            CREATE SCHEMA test_clock;
            CREATE SEQUENCE test_clock.readings;
            CREATE TABLE test_clock.reading (shows timestamptz NOT NULL, step interval NOT NULL);
            INSERT INTO test_clock.reading VALUES (clock_timestamp(), '0');
            CREATE FUNCTION test_clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
                'SELECT shows + nextval(''test_clock.readings'') * step FROM test_clock.reading';
            """
        )
        cursor.execute("SHOW search_path")
        [former] = cursor.fetchone()
        cursor.execute(f"SET search_path = test_clock, {former}, pg_catalog")
    try:
        yield DatabaseClock()
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"SET search_path = {former}")
            cursor.execute("DROP SCHEMA test_clock CASCADE")
