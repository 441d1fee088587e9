"""Ways to run one statement."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, Protocol, cast

import psycopg
from django.db import DatabaseError, NotSupportedError, connection, transaction
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Loader
from psycopg.pq import Format

from jobs import worker
from jobs.conf import RECONNECT, conf
from jobsched.domain.errors import JobschedError, Unavailable
from jobsched.domain.wallclock import utc

Row = tuple[Any, ...]

_MOMENT_OID = psycopg.adapters.types["timestamptz"].oid


class UtcLoader(Loader):
    """Load moments in UTC. PostgreSQL sends them in the time zone of the session, which the project chooses.

    psycopg's own loader reads them, which may be written in C: Django's takes 10 us a moment, and firing reads five a
    schedule.
    """

    def __init__(self, oid: int, context: AdaptContext | None = None) -> None:
        super().__init__(oid, context)
        self._read = psycopg.adapters.get_loader(_MOMENT_OID, Format.TEXT)(oid, context).load  # type: ignore[misc]

    def load(self, data: Buffer) -> datetime:
        return utc(self._read(data))


_ONLY_IF_ASKED = 2**31
"""So many times a statement may run before psycopg prepares it unasked."""

_AWAY = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.ReadOnlySqlTransaction)
"""The last after a fail-over: what was the primary cannot be written to any more, another can."""
_TOO_LARGE = (psycopg.errors.ProgramLimitExceeded, psycopg.errors.StatementTooComplex)
"""psycopg counts these as operational errors, although their cause is the values of the statement."""


class NotConnected(Unavailable):
    """No connection could be opened, so the statement was not sent: it cannot have committed."""


class Refused(JobschedError):
    """The database, or JSON, refuses a statement, most often for its values. Nothing was done; to repeat it is of no
    use."""


def _refusal(error: Exception) -> Refused | None:
    """Return what psycopg raised as Refused, or None when it says that the database is away."""
    if isinstance(error, _AWAY) and not isinstance(error, _TOO_LARGE):
        return None
    message = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return Refused(f"the database refuses it: {message or error}")


class Execute(Protocol):
    """Run one statement with named parameters and return its rows."""

    def __call__(self, sql: str, params: Mapping[str, Any]) -> list[Row]: ...


def django_connection(sql: str, params: Mapping[str, Any]) -> list[Row]:
    """Run a statement on Django's default connection, inside whatever transaction is open there.

    Raises Django's own database errors. The statement is prepared by the server where that is allowed: planning
    these anew costs more than running them, and Django's cursors never prepare.
    """
    try:
        return _on_django(sql, params, prepare=conf().prepared_statements)
    except NotSupportedError:
        # A migration has changed what a prepared statement returns. In a transaction only its end helps.
        if connection.in_atomic_block:
            raise
        connection.close()
        return _on_django(sql, params, prepare=False)


def in_savepoint(sql: str, params: Mapping[str, Any]) -> list[Row]:
    """Run a statement as `django_connection` does. Raises Refused instead of Django's errors that are not about the
    connection; the transaction around it goes on."""
    try:
        with transaction.atomic():
            return django_connection(sql, params)
    except DatabaseError as error:
        if isinstance(error.__cause__, psycopg.Error) and (refused := _refusal(error.__cause__)):
            raise refused from error
        raise


def _on_django(sql: str, params: Mapping[str, Any], *, prepare: bool) -> list[Row]:
    connection.ensure_connection()
    opened = connection.connection
    with connection.wrap_database_errors, psycopg.Cursor(opened) as cursor:
        cursor.adapters.register_loader("timestamptz", UtcLoader)
        before = opened.prepare_threshold
        # Django leaves it at None, and then nothing is prepared even if asked; psycopg would keep what Django sends.
        opened.prepare_threshold = _ONLY_IF_ASKED if prepare else None
        try:
            cursor.execute(sql, params, prepare=prepare)
        finally:
            opened.prepare_threshold = before
        return cursor.fetchall() if cursor.description else []


def array(values: Iterable[int | datetime | None]) -> str:
    """Return numbers, truth values or moments as one text that a statement casts to an array.

    psycopg's own way, which looks at each for what must be quoted, takes five times as long.
    """
    return "{" + ",".join(["NULL" if value is None else _word(value) for value in values]) + "}"


def _word(value: int | datetime) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def now(execute: Execute) -> datetime:
    """Return the present moment by the database's clock."""
    [(moment,)] = execute("SELECT clock_timestamp()", {})
    return cast(datetime, moment)


FROZEN_SECONDS = 3
"""A beat that is frozen in the middle of a transaction holds rows that other beats pass over; the database then ends
its session, and so lets them go."""


@contextmanager
def local_settings(execute: Execute, settings: Mapping[str, str]) -> Iterator[None]:
    """Change settings of the database inside a transaction, until the end of the block. An error ends them as well."""
    given = {"names": list(settings), "values": list(settings.values())}
    [(before,)] = execute(
        """
        SELECT array_agg(coalesce(current_setting(name, true), '') ORDER BY place)
        FROM unnest(%(names)s::text[]) WITH ORDINALITY AS i(name, place)
        """,
        given,
    )
    change = "SELECT set_config(name, value, true) FROM unnest(%(names)s::text[], %(values)s::text[]) AS i(name, value)"
    execute(change, given)
    yield
    execute(change, {**given, "values": before})


class _Spoke(threading.local):
    at: float = 0.0


_spoke = _Spoke()


@contextmanager
def short_transaction(
    *, frozen_seconds: int = FROZEN_SECONDS, wait_for_disk: bool = True, plan_anew: bool = True
) -> Iterator[None]:
    """Open a transaction on Django's default connection that the database ends if this process stands still.

    Said in the transaction itself, so that it also holds behind PgBouncer in transaction mode. Whoever reckons for long
    inside it calls `still_here`. Without `wait_for_disk` a crash of the database may undo the whole of it, as if it
    had not been done yet: only for what is done again then, and of which nobody was told before a later commit.
    Unless they are to `plan_anew`, prepared statements keep the plan that they were given first, for values unknown.
    """
    with transaction.atomic():
        django_connection(
            "SELECT set_config('idle_in_transaction_session_timeout', %(frozen)s, true), "
            "CASE WHEN %(hasty)s THEN set_config('synchronous_commit', 'off', true) END, "
            # A plan made while the tables were young must not scan them once they are old.
            "CASE WHEN %(keep)s THEN set_config('plan_cache_mode', 'force_generic_plan', true) END, "
            "CASE WHEN %(keep)s THEN set_config('enable_seqscan', 'off', true) END",
            {"frozen": f"{frozen_seconds}s", "hasty": not wait_for_disk, "keep": not plan_anew},
        )
        _spoke.at = time.monotonic()
        yield


def still_here() -> None:
    """Give the database a sign of life, if the last one was a while ago."""
    if time.monotonic() - _spoke.at > FROZEN_SECONDS / 6:
        django_connection("SELECT 1", {})
        _spoke.at = time.monotonic()


def session_parameters() -> dict[str, Any]:
    """Return the connection parameters of a worker's slots: those of the project, with time limits where it has none.

    Without them a slot could wait for minutes on a connection that is dead, and its lease would end meanwhile.
    """
    wanted = connection.get_connection_params()
    for ours in ("cursor_factory", "context", "prepare_threshold"):
        wanted.pop(ours, None)
    limits = {
        "connect_timeout": round(RECONNECT.total_seconds()),
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": round(conf().lease.total_seconds() * 1000 / 3),
    }
    return limits | wanted


def _connect(**options: Any) -> psycopg.Connection[Row]:
    """Open a connection with the parameters of a worker's slots. Raises NotConnected."""
    try:
        return psycopg.connect(**{**session_parameters(), **options}, autocommit=True)
    except _AWAY as error:
        raise NotConnected(f"the database cannot be reached: {error}") from error


PROBE_SECONDS: Final = 5
"""How long a server may take to accept a connection before it counts as one that cannot be reached."""


def probe() -> None:
    """Open a connection and close it. Raises NotConnected when that fails, or when nothing can be written there."""
    given = int(session_parameters()["connect_timeout"])
    with _connect(connect_timeout=min(given or PROBE_SECONDS, PROBE_SECONDS)) as opened:
        for status in (b"in_hot_standby", b"default_transaction_read_only"):  # PostgreSQL reports both unasked
            if opened.pgconn.parameter_status(status) == b"on":
                raise NotConnected("the database cannot be written to: it is a standby, or read-only")


class Session:
    """A worker slot's own connection: autocommit, prepared statements, reopened when it broke.

    Celery closes Django's connections around every task; this one is not Django's, and so survives from run
    to run. It must be used by one thread of one process only.
    """

    def __init__(self) -> None:
        self._connection: psycopg.Connection[Row] | None = None

    def __call__(self, sql: str, params: Mapping[str, Any]) -> list[Row]:
        """Run one statement.

        Raises Refused, NotConnected, and another Unavailable when the connection fails: it may have committed then.
        """
        try:
            try:
                rows = self._run(sql, params)
            except psycopg.errors.FeatureNotSupported:  # a migration has changed what a prepared statement returns
                self.close()
                rows = self._run(sql, params)
            worker.database_answered()
            return rows
        except NotConnected:
            worker.database_failed()
            raise
        except (psycopg.Error, UnicodeError) as error:  # the latter where a session's encoding cannot hold a character
            if refused := _refusal(error):
                raise refused from error
            self.close()
            worker.database_failed()
            raise Unavailable(f"the database cannot be reached: {error}") from error

    def _run(self, sql: str, params: Mapping[str, Any]) -> list[Row]:
        if self._connection is None:
            self._connection = self._open()
        cursor = self._connection.execute(sql, params)
        return cursor.fetchall() if cursor.description else []

    def _open(self) -> psycopg.Connection[Row]:
        opened = _connect(prepare_threshold=2 if conf().prepared_statements else None)
        opened.adapters.register_loader("timestamptz", UtcLoader)
        if conf().prepared_statements:  # behind PgBouncer these settings would stay with whoever comes next
            # The same plan serves every batch; planning these statements anew costs more than running them.
            opened.execute("SET plan_cache_mode = force_generic_plan")
            # A plan made while the tables were young must not scan them once they are old.
            opened.execute("SET enable_seqscan = off")
            opened.execute("SET TIME ZONE 'UTC'")
        return opened

    def close(self) -> None:
        """Close the connection. The next statement opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def forget(self) -> None:
        """After a fork: drop the parent's connection without a word on its socket (psycopg checks the pid)."""
        self._connection = None
