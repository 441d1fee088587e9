"""Runs that somebody asks for by the name of their job."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from jobs.models import Job, Project, Run
from jobs.store.births import MADE
from jobs.store.session import Execute, Row


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """The job that was named. Of one with limits nothing was made: that needs a transaction."""

    job_id: int
    limited: bool
    runs: list[Run]


def request(
    execute: Execute,
    name: str,
    *,
    project: str,
    count: int,
    actor: str,
    params: dict[str, Any] | None,
    priority: int | None,
    at: datetime | None,
) -> Found | None:
    """Find a job and make its runs, all in one statement. Return None when there is no such job.

    The runs are returned as they were stored. Their jobs have a name and a project at hand; the rest of a job is read
    when it is asked for.
    """
    rows = execute(
        _REQUEST,
        {
            "project": project,
            "name": name,
            "count": count,
            "actor": actor,
            "params": None if not params else json.dumps(params),
            "priority": priority,
            "at": at,
        },
    )
    if not rows:
        return None
    job_id, limited, project_id, *_ = rows[0]
    # Values in the order of the model's fields; those that are left out are read when they are asked for.
    owner = Project.from_db("default", ["id", "name"], [project_id, project])
    job = Job.from_db("default", ["id", "project_id", "name"], [job_id, project_id, name])
    job.project = owner
    return Found(job_id=job_id, limited=limited, runs=[_run(row[3:], job) for row in rows if row[3] is not None])


def _run(values: Row, job: Job) -> Run:
    found = Run.from_db("default", _ATTRIBUTES, values)
    found.params = json.loads(values[_PARAMS]) if values[_PARAMS] is not None else None
    found.job = job
    return found


_FIELDS: Final = Run._meta.concrete_fields
_ATTRIBUTES: Final = [field.attname for field in _FIELDS]
_PARAMS: Final = _ATTRIBUTES.index("params")
_COLUMNS: Final = ", ".join(f"m.{field.column}{'::text' if field.attname == 'params' else ''}" for field in _FIELDS)

_REQUEST: Final = (
    """
WITH found AS (
    SELECT j.id, j.limited, j.project_id FROM jobs_job j JOIN jobs_project p ON p.id = j.project_id
    WHERE p.name = %(project)s AND j.name = %(name)s AND j.archived_at IS NULL
), wanted AS (
    SELECT f.id AS job_id, 'request' AS trigger, %(actor)s::text AS requested_by, NULL::bigint AS schedule_id,
        NULL::timestamptz AS scheduled_for, %(at)s::timestamptz AS not_before, %(params)s::jsonb AS params,
        %(priority)s::smallint AS priority, NULL::bigint AS definition_id, NULL::text AS skip_reason,
        NULL::timestamptz AS skipped_until, NULL::int AS skipped_count, NULL::bigint AS retry_of, NULL::text AS lane,
        i.position
    FROM found f CROSS JOIN generate_series(1, %(count)s::int) AS i(position)
    WHERE NOT f.limited
"""
    + MADE.format(returned="*")
    + f"SELECT f.id, f.limited, f.project_id, {_COLUMNS} FROM found f LEFT JOIN made m ON true ORDER BY m.id"
)
