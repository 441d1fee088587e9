"""Requests to apply files of jobs: who works on each, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from jobs.store.session import Execute

STALE: Final = timedelta(seconds=15)
"""A request that nobody has touched for so long has lost its process."""
ABANDONED: Final = timedelta(hours=1)
"""One that nobody has asked about for so long either is given up."""
KEPT: Final = timedelta(days=1)
"""How long a request is kept after its end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Apply:
    """A request as it stands. `results` are pairs of a job's name and `created`, `updated` or `unchanged`."""

    id: int
    state: str
    filename: str
    digest: str
    batch: int
    attempts: int
    total: int
    checked: int
    project: str
    results: list[tuple[str, str]]
    error: str
    is_conflict: bool
    is_stale: bool


def create(
    execute: Execute, *, batch: int, actor: str, key: str | None, filename: str, source: str, digest: str
) -> int | None:
    """Store a request, and return its number. Return None when this actor has one with the same key already."""
    rows = execute(
        """
        INSERT INTO jobs_apply (actor, key, filename, source, digest, batch)
        VALUES (%(actor)s, %(key)s, %(filename)s, %(source)s, %(digest)s, %(batch)s)
        ON CONFLICT (actor, key) WHERE key IS NOT NULL DO NOTHING
        RETURNING id
        """,
        {"batch": batch, "actor": actor, "key": key, "filename": filename, "source": source, "digest": digest},
    )
    return rows[0][0] if rows else None


def find(execute: Execute, *, actor: str, id: int | None = None, key: str | None = None) -> Apply | None:
    """Return a request of an actor by its number or its key."""
    rows = execute(
        """
        SELECT id, state, filename, digest, batch, attempts, total, checked, results::text, error, is_conflict,
            state = 'checking' AND touched_at < clock_timestamp() - %(stale)s
        FROM jobs_apply WHERE actor = %(actor)s AND (id = %(id)s::bigint OR key = %(key)s::text)
        """,
        {"actor": actor, "id": id, "key": key, "stale": STALE},
    )
    return _apply(rows[0]) if rows else None


def _apply(row: Sequence[Any]) -> Apply:
    results: dict[str, Any] = json.loads(row[8]) if row[8] else {"project": "", "jobs": []}
    return Apply(
        id=row[0],
        state=row[1],
        filename=row[2],
        digest=row[3],
        batch=row[4],
        attempts=row[5],
        total=row[6],
        checked=row[7],
        project=results["project"],
        results=[(name, result) for name, result in results["jobs"]],
        error=row[9],
        is_conflict=row[10],
        is_stale=row[11],
    )


def source(execute: Execute, batch: int) -> str | None:
    """Return the text of a request, or None when another attempt has begun or it has ended."""
    rows = execute("SELECT source FROM jobs_apply WHERE batch = %(batch)s AND state = 'checking'", {"batch": batch})
    return rows[0][0] if rows else None


def take_over(execute: Execute, id: int, *, former: int, batch: int) -> bool:
    """Begin another attempt at a request that has lost its process. Return whether nobody else was faster."""
    return bool(
        execute(
            """
            UPDATE jobs_apply SET batch = %(batch)s, attempts = attempts + 1, checked = 0,
                touched_at = clock_timestamp()
            WHERE id = %(id)s AND batch = %(former)s AND state = 'checking'
            RETURNING id
            """,
            {"id": id, "former": former, "batch": batch},
        )
    )


def touch(execute: Execute, batch: int) -> bool:
    """Show that somebody works on a request. Return whether it is still to be done, and by this attempt."""
    return bool(
        execute(
            """
            UPDATE jobs_apply SET touched_at = clock_timestamp() WHERE batch = %(batch)s AND state = 'checking'
            RETURNING id
            """,
            {"batch": batch},
        )
    )


def progress(execute: Execute, batch: int, *, checked: int, total: int) -> bool:
    """Record how many jobs are checked. Return whether the request is still to be done, and by this attempt."""
    return bool(
        execute(
            """
            UPDATE jobs_apply SET checked = %(checked)s, total = %(total)s, touched_at = clock_timestamp()
            WHERE batch = %(batch)s AND state = 'checking'
            RETURNING id
            """,
            {"batch": batch, "checked": checked, "total": total},
        )
    )


def finish(execute: Execute, batch: int, *, project: str, results: Sequence[tuple[str, str]]) -> bool:
    """Record that a file is applied, in the transaction that publishes it. Return False for one that must not be."""
    return bool(
        execute(
            """
            UPDATE jobs_apply SET state = 'applied', source = '', results = %(results)s::jsonb, checked = %(count)s,
                total = %(count)s, finished_at = clock_timestamp()
            WHERE batch = %(batch)s AND state = 'checking'
            RETURNING id
            """,
            {
                "batch": batch,
                "count": len(results),
                "results": json.dumps({"project": project, "jobs": [list(pair) for pair in results]}),
            },
        )
    )


def refuse(execute: Execute, batch: int, *, error: str, is_conflict: bool) -> None:
    """Record why nothing of a file is applied."""
    execute(
        """
        UPDATE jobs_apply SET state = 'refused', source = '', error = %(error)s, is_conflict = %(is_conflict)s,
            finished_at = clock_timestamp()
        WHERE batch = %(batch)s AND state = 'checking'
        """,
        {"batch": batch, "error": error, "is_conflict": is_conflict},
    )


def cancel(execute: Execute, id: int, *, actor: str) -> bool:
    """End a request that is not applied yet. Return whether it was one. A publication that has begun is waited for."""
    return bool(
        execute(
            """
            UPDATE jobs_apply SET state = 'cancelled', source = '', finished_at = clock_timestamp()
            WHERE id = %(id)s AND actor = %(actor)s AND state = 'checking'
            RETURNING id
            """,
            {"id": id, "actor": actor},
        )
    )


def tidy(execute: Execute) -> None:
    """Give up requests that nobody works on or asks about, and delete what is no longer needed of all."""
    execute(
        """
        UPDATE jobs_apply SET state = 'refused', source = '', finished_at = clock_timestamp(),
            error = 'The server stopped before the file was checked; nothing was applied. Apply it again.'
        WHERE state = 'checking' AND touched_at < clock_timestamp() - %(abandoned)s
        """,
        {"abandoned": ABANDONED},
    )
    execute(
        "DELETE FROM jobs_apply WHERE state <> 'checking' AND finished_at < clock_timestamp() - %(kept)s",
        {"kept": KEPT},
    )
    # What others stage in one transaction with its publication is seen by nobody.
    execute(
        """
        DELETE FROM jobs_stagedjob s
        WHERE NOT EXISTS (SELECT FROM jobs_apply a WHERE a.batch = s.batch AND a.state = 'checking')
        """,
        {},
    )
