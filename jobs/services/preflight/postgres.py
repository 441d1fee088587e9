"""The server itself: its version, whether it keeps what it acknowledges, and what wears it down."""

from __future__ import annotations

from typing import Final

from jobs.services.preflight.findings import Finding, Notes
from jobs.store import facts
from jobs.store.facts import Server
from jobs.store.session import django_connection

OLDEST_VERSION: Final = 15
SESSIONS_SHARE: Final = 0.8
"""Of all connections that are allowed. The next worker or deployment may find none left."""
LONG_TRANSACTION_SECONDS: Final = 600.0
"""Long before that vacuum removes nothing, and claims step over ever more dead rows."""
MANY_DEAD_ROWS: Final = 50_000
"""Ten times what makes autovacuum begin on the table of runs."""


def look() -> list[Finding]:
    """Return what is to be said of the server. Raises DatabaseError."""
    server = facts.server(django_connection)
    notes = Notes("postgresql")
    notes.found += durability(server)
    _patience(server, notes)
    _sessions(server, notes)
    _transactions(server, notes)
    _dead_rows(server, notes)
    return notes.found


def durability(server: Server | None = None) -> list[Finding]:
    """Return findings on the version, the encoding, and whether what was acknowledged is kept. Raises DatabaseError."""
    server = server or facts.server(django_connection)
    notes = Notes("postgresql")
    said = server.settings
    number = int(said["server_version_num"])
    if number < OLDEST_VERSION * 10_000:
        notes.error("version", f"PostgreSQL is {said['server_version']}; install {OLDEST_VERSION} or later.")
    else:
        notes.fine("version", f"PostgreSQL is {said['server_version']}.")
    problem = encoding_problem(said["server_encoding"])
    if problem is not None:
        notes.error("encoding", problem)
    else:
        notes.fine("encoding", "The database can hold every character.")
    if server.standby:
        notes.error("writable", "This PostgreSQL is a standby and takes no writes: name the primary, or promote it.")
    elif said.get("transaction_read_only") == "on":
        notes.error(
            "writable",
            "Sessions are read-only: take default_transaction_read_only off the server, the database and the account.",
        )
    else:
        notes.fine("writable", "It takes writes.")
    for name, loses in (
        ("fsync", "a power failure may lose runs that were acknowledged, and the whole database with them"),
        ("full_page_writes", "a power failure may leave half-written pages, and the database unreadable"),
    ):
        if said.get(name) == "off":
            notes.error(name, f"{name} is off: {loses}; set it to on.")
        else:
            notes.fine(name, f"{name} is on.")
    if said.get("synchronous_commit") == "off":
        notes.error(
            "synchronous_commit",
            "synchronous_commit is off: the last results before a crash are lost, and their runs performed again; "
            "set it to on.",
        )
    else:
        notes.fine("synchronous_commit", f"synchronous_commit is {said.get('synchronous_commit')}.")
    return notes.found


def encoding_problem(encoding: str) -> str | None:
    """Return in one sentence why a database of this encoding cannot store every character, or None.

    Django sees to it that our sessions speak UTF-8.
    """
    if encoding != "UTF8":
        return (
            f"The database has the encoding {encoding}, which cannot hold every character that jobs print and return: "
            "create a database with ENCODING 'UTF8' (and TEMPLATE template0), and copy the data with pg_dump and psql."
        )
    return None


def _patience(server: Server, notes: Notes) -> None:
    for name, variable, why in (
        ("statement_timeout", "JOBSCHED_STATEMENT_TIMEOUT_SECONDS", "a statement that waits for ever holds its slot"),
        (
            "idle_in_transaction_session_timeout",
            "JOBSCHED_IDLE_IN_TRANSACTION_SECONDS",
            "a program that stands still in a transaction holds its rows, and vacuum back",
        ),
    ):
        milliseconds = int(server.settings.get(name, "0"))
        if milliseconds == 0:
            notes.warning(
                name,
                f"{name} is off, so that {why}; set {variable} (in a project of your own, {name} in the options of "
                f"DATABASES), or ALTER ROLE … SET {name}.",
            )
        else:
            notes.fine(name, f"{name} is {milliseconds / 1000:g} s.")


def _sessions(server: Server, notes: Notes) -> None:
    sentence = f"{server.sessions} of {server.allowed_sessions} connections are used"
    if server.sessions >= SESSIONS_SHARE * server.allowed_sessions:
        notes.warning(
            "connections",
            f"{sentence}: raise max_connections, or put PgBouncer in between; docs/deployment.md says how many each "
            "process takes.",
        )
    else:
        notes.fine("connections", f"{sentence}.")


def _transactions(server: Server, notes: Notes) -> None:
    oldest = server.oldest_transaction_seconds or 0.0
    prepared = server.oldest_prepared_seconds or 0.0
    if oldest > LONG_TRANSACTION_SECONDS:
        notes.warning(
            "transactions",
            f"A transaction is open for {oldest:.0f} s ({server.oldest_transaction}): vacuum cannot remove what died "
            "since, and claims get slower; end it, with pg_terminate_backend if need be.",
        )
    elif prepared > LONG_TRANSACTION_SECONDS:
        notes.warning(
            "transactions",
            f"A prepared transaction is open for {prepared:.0f} s and stops vacuum: COMMIT or ROLLBACK PREPARED it "
            "(pg_prepared_xacts).",
        )
    elif not server.sees_all_sessions:
        notes.unknown(
            "transactions",
            "Whether other accounts have transactions open for long cannot be seen: GRANT pg_read_all_stats to the "
            "account to know.",
        )
    else:
        notes.fine("transactions", "No transaction is open for long.")


def _dead_rows(server: Server, notes: Notes) -> None:
    if server.settings.get("autovacuum") == "off":
        notes.warning(
            "autovacuum", "autovacuum is off: dead rows stay, and claims get slower by the day; set it to on."
        )
    else:
        notes.fine("autovacuum", "autovacuum is on.")
    worn = [t for t in facts.hot_tables(django_connection) if t.dead > MANY_DEAD_ROWS and t.dead > t.live / 5]
    for table in worn:
        notes.warning(
            "dead_rows",
            f"{table.name} has {table.dead:,} dead rows beside {table.live:,} live ones: autovacuum does not keep up, "
            f"or something holds it back; end old transactions, then VACUUM {table.name}.",
        )
    if not worn:
        notes.fine("dead_rows", "The tables that change all the time have few dead rows.")
