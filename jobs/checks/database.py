"""The database behind the settings. `migrate` asks this, and `check --database default`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, Warning
from django.db import DatabaseError


def check_database(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Look at the server's version and at whether it keeps what it acknowledges. `migrate` asks this, too.

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
        (Error if finding.check in ("version", "writable") else Warning)(
            finding.sentence, id="jobs.E005" if finding.check in ("version", "writable") else "jobs.W004"
        )
        for finding in findings
        if finding.level in (Level.ERROR, Level.WARNING)
    ]
