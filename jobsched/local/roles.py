"""The roles of a private PostgreSQL: a superuser for this package, and the role of our processes.

The role of our processes owns one database and has no right beyond it, but for reading the server's figures and
settings, which `doctor` shows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, LiteralString, Self

import psycopg
from psycopg import Connection, sql

from jobsched.local.ports import LOOPBACK
from jobsched.local.state import Secrets

SUPERUSER: Final = "postgres"
ROLE: Final = "jobsched"
DATABASE: Final = "jobsched"
_FORMER_SUPERUSER: Final = "jobsched_before"
"""The name that the first superuser gets in a data folder where it was called like the role of our processes."""
_GRANTED: Final = ("pg_read_all_stats", "pg_read_all_settings")
_GRANTED_TO_MEASURE: Final = "pg_checkpoint"


@dataclass(frozen=True, kw_only=True)
class Access:
    """A server and the passwords of both roles."""

    port: int
    superuser_password: str = field(repr=False)
    role_password: str = field(repr=False)
    may_create_databases: bool = False
    """Whether the role may make databases of its own, ask for a checkpoint and choose when deadlocks are looked for, as
    tests and benchmarks do."""

    @classmethod
    def of(cls, secrets: Secrets, port: int, *, may_create_databases: bool = False) -> Self:
        """Return the access to the server of a data folder, on `port`."""
        return cls(
            port=port,
            superuser_password=secrets.postgres_superuser_password,
            role_password=secrets.postgres_password,
            may_create_databases=may_create_databases,
        )

    @property
    def url(self) -> str:
        """The address of the database as the role of our processes. Passwords are ours: they need no quoting."""
        return f"postgres://{ROLE}:{self.role_password}@{LOOPBACK}:{self.port}/{DATABASE}"

    @property
    def superuser_url(self) -> str:
        """The address of the same database as the superuser."""
        return f"postgres://{SUPERUSER}:{self.superuser_password}@{LOOPBACK}:{self.port}/{DATABASE}"


def establish(access: Access) -> None:
    """Make the roles and the database as far as they are missing. Raises psycopg.Error, e.g. during the start.

    A data folder of an earlier version, in which the role of our processes was the superuser, is changed over. A
    standby is left as its primary made it.
    """
    with _connected_as_superuser(access) as connection:
        if _value(connection, "SELECT pg_is_in_recovery()"):
            return
        if _value(connection, "SELECT rolsuper FROM pg_roles WHERE rolname = %s", ROLE):
            # The first superuser of a server has to stay one.
            _run(connection, "ALTER ROLE {} RENAME TO {}", ROLE, _FORMER_SUPERUSER)
        _make_role(connection, access)
        if _value(connection, "SELECT true FROM pg_roles WHERE rolname = %s", _FORMER_SUPERUSER):
            _retire_former_superuser(connection, access)
        if not _value(connection, "SELECT true FROM pg_database WHERE datname = %s", DATABASE):
            _run(connection, "CREATE DATABASE {} OWNER {}", DATABASE, ROLE)


def _connected_as_superuser(access: Access) -> Connection[Any]:
    try:
        return _connected(access, SUPERUSER, access.superuser_password)
    except psycopg.OperationalError as refused:
        if "password authentication failed" not in str(refused):
            raise
    # A data folder of an earlier version: its only role, a superuser, has the name of the role of our processes.
    with _connected(access, ROLE, access.role_password) as connection:
        password = _encrypted(connection, SUPERUSER, access.superuser_password)
        _run(connection, "CREATE ROLE {} SUPERUSER LOGIN PASSWORD %s", SUPERUSER, password=password)
    return _connected(access, SUPERUSER, access.superuser_password)


def _make_role(connection: Connection[Any], access: Access) -> None:
    may_create = _value(connection, "SELECT rolcreatedb FROM pg_roles WHERE rolname = %s", ROLE)
    if may_create is None:
        password = _encrypted(connection, ROLE, access.role_password)
        with connection.transaction():
            _run(connection, "CREATE ROLE {} LOGIN PASSWORD %s", ROLE, password=password)
            for granted in _GRANTED:
                _run(connection, "GRANT {} TO {}", granted, ROLE)
    if access.may_create_databases:
        _run(connection, "ALTER ROLE {} CREATEDB", ROLE)
        _run(connection, "GRANT {} TO {}", _GRANTED_TO_MEASURE, ROLE)
        _run(connection, "GRANT SET ON PARAMETER deadlock_timeout TO {}", ROLE)
    elif may_create:
        _run(connection, "ALTER ROLE {} NOCREATEDB", ROLE)


def _retire_former_superuser(connection: Connection[Any], access: Access) -> None:
    """Give what the former superuser owns to the role of our processes. Safe to repeat after an interruption."""
    _run(connection, "ALTER ROLE {} NOLOGIN PASSWORD NULL", _FORMER_SUPERUSER)
    owned = connection.execute(
        "SELECT datname FROM pg_database WHERE datdba = %s::regrole AND NOT datistemplate AND datname <> 'postgres'",
        [_FORMER_SUPERUSER],
    ).fetchall()
    for (database,) in owned:
        with _connected(access, SUPERUSER, access.superuser_password, database) as inside, inside.transaction():
            for (statement,) in inside.execute(_GIVE_CONTENTS, {"owner": _FORMER_SUPERUSER, "to": ROLE}).fetchall():
                inside.execute(statement)
        # Last, since it marks the database as done.
        _run(connection, "ALTER DATABASE {} OWNER TO {}", database, ROLE)


_GIVE_CONTENTS: Final = """
    SELECT format('ALTER SCHEMA %%I OWNER TO %%I', nspname, %(to)s::text)
    FROM pg_namespace
    WHERE nspowner = %(owner)s::text::regrole AND nspname !~ '^pg_' AND nspname <> 'information_schema'
    UNION ALL
    -- ALTER TABLE serves views and sequences too; a sequence of a column goes with its table.
    SELECT format('ALTER TABLE %%s OWNER TO %%I', c.oid::regclass, %(to)s::text)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relowner = %(owner)s::text::regrole AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
        AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
        AND NOT EXISTS (
            SELECT FROM pg_depend d
            WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i', 'e'))
    UNION ALL
    SELECT format('ALTER ROUTINE %%s OWNER TO %%I', p.oid::regprocedure, %(to)s::text)
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE p.proowner = %(owner)s::text::regrole AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
        AND NOT EXISTS (
            SELECT FROM pg_depend d
            WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
    UNION ALL
    -- Types of their own; the row type of a table goes with the table.
    SELECT format('ALTER TYPE %%s OWNER TO %%I', t.oid::regtype, %(to)s::text)
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_class c ON c.oid = t.typrelid
    WHERE t.typowner = %(owner)s::text::regrole AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
        AND (t.typtype IN ('e', 'd', 'r') OR c.relkind = 'c')
        AND NOT EXISTS (
            SELECT FROM pg_depend d
            WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e')
"""
"""Returns one statement for each object of `owner` in the present database."""


def _connected(access: Access, user: str, password: str, database: str = "postgres") -> Connection[Any]:
    return psycopg.connect(
        host=LOOPBACK,
        port=access.port,
        user=user,
        password=password,
        dbname=database,
        connect_timeout=2,
        autocommit=True,
    )


def _encrypted(connection: Connection[Any], role: str, password: str) -> str:
    """Return what the server stores, so that the password itself is in no statement and in no log."""
    return connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()


def _value(connection: Connection[Any], query: LiteralString, *values: str) -> Any:
    """Return the first column of the first row, None without a row."""
    row = connection.execute(query, values).fetchone()
    return None if row is None else row[0]


def _run(connection: Connection[Any], statement: LiteralString, *names: str, password: str | None = None) -> None:
    """Execute a statement with `names` for its braces and a password, which takes no parameter, for its `%s`."""
    made = sql.SQL(statement).format(*map(sql.Identifier, names))
    if password is None:
        connection.execute(made)
    else:
        psycopg.ClientCursor(connection).execute(made, [password])
