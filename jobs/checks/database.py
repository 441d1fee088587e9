"""The database behind the settings. `migrate` asks this, and `check --database default`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, Warning
from django.core.management import CommandError
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections

_REFUSED: Final = ("version", "encoding", "writable")


def check_database(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Look at the server's version and encoding, and whether it keeps what it acknowledges. `migrate` asks this, too.

    A server that loses data is a warning here: it must not keep a developer from migrating. `manage.py doctor` calls
    it an error, and looks at much more.
    """
    if "default" not in (databases or ()):
        return []
    # Here, because every process of Django's registers checks, and few ask the database.
    from jobs.services import preflight
    from jobs.services.preflight import Level, first_line

    try:
        findings = preflight.durability()
    except DatabaseError as error:
        return [
            Error(f"PostgreSQL cannot be asked: {first_line(error)}", hint="See `manage.py doctor`.", id="jobs.E004")
        ]
    return [
        (Error if finding.check in _REFUSED else Warning)(
            finding.sentence, id="jobs.E005" if finding.check in _REFUSED else "jobs.W004"
        )
        for finding in findings
        if finding.level in (Level.ERROR, Level.WARNING)
    ]


def refuse_encoding(using: str, **_: Any) -> None:
    """Stop `migrate` before its first operation, also without checks, in a database that cannot hold every character.

    A receiver of `pre_migrate`. Raises CommandError.
    """
    if using != DEFAULT_DB_ALIAS:
        return
    from jobs.services.preflight import encoding_problem  # as above

    with connections[using].cursor() as cursor:
        cursor.execute("SHOW server_encoding")
        [encoding] = cursor.fetchone()
    problem = encoding_problem(encoding)
    if problem is not None:
        raise CommandError(problem)
