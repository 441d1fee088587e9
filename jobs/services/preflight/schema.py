"""Whether the tables are those of this code, and the triggers in place that see edits."""

from __future__ import annotations

from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from jobs.services.preflight.findings import Finding, Notes
from jobs.store import facts
from jobs.store.session import django_connection

OURS = "jobs"


def look() -> list[Finding]:
    """Return what is to be said of migrations and triggers. Raises DatabaseError."""
    notes = Notes("postgresql")
    executor = MigrationExecutor(connection)
    open_ones = [f"{m.app_label}.{m.name}" for m, _ in executor.migration_plan(executor.loader.graph.leaf_nodes())]
    unknown = sorted(
        name
        for app, name in executor.loader.applied_migrations
        if app == OURS and (app, name) not in executor.loader.disk_migrations
    )
    if open_ones:
        notes.error("migrations", f"Migrations are not applied ({_some(open_ones)}): run `manage.py migrate`.")
    elif unknown:
        notes.warning(
            "migrations",
            f"The database is ahead of this code ({_some(unknown)}): a later version migrated it; deploy that here.",
        )
    else:
        notes.fine("migrations", "All migrations are applied.")
    missing = facts.missing_triggers(django_connection)
    if missing and not open_ones:
        notes.error(
            "triggers",
            f"Triggers are missing or off ({_some(missing)}): edits are not seen, or history is not kept; "
            "restore them from jobs/migrations, or ALTER TABLE … ENABLE TRIGGER.",
        )
    elif not missing:
        notes.fine("triggers", "All triggers are in place.")
    return notes.found


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
