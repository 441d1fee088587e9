"""New runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jobs.store.session import Execute
from jobsched.domain.states import State


@dataclass(frozen=True, kw_only=True, slots=True)
class Birth:
    """A run to be made: of a job as it stands now, or of one of its definitions.

    `skip_reason` makes it a `skipped` run, the record of an instant that was deliberately not run.
    `not_before` in the future makes it wait as `scheduled`.
    """

    job_id: int
    trigger: str
    requested_by: str = ""
    schedule_id: int | None = None
    scheduled_for: datetime | None = None
    not_before: datetime | None = None
    params: dict[str, Any] | None = None
    priority: int | None = None
    definition_id: int | None = None
    skip_reason: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Born:
    """A run that was made just now."""

    id: int
    job_id: int
    queue: str
    state: State


def job_id(execute: Execute, name: str, *, project: str) -> int | None:
    """Return the number of a job that has not been deleted, if there is one of that name."""
    rows = execute(
        """
        SELECT j.id FROM jobs_job j JOIN jobs_project p ON p.id = j.project_id
        WHERE p.name = %(project)s AND j.name = %(name)s AND j.archived_at IS NULL
        """,
        {"project": project, "name": name},
    )
    return rows[0][0] if rows else None


# Queue and priority come from the definition the run will be performed by, read in the same statement.
_CREATE = """
WITH wanted AS (
    SELECT row_number() OVER () AS position, i.*
    FROM jsonb_to_recordset(%(births)s::jsonb) AS i(
        job_id bigint, trigger text, requested_by text, schedule_id bigint, scheduled_for timestamptz,
        not_before timestamptz, params jsonb, priority smallint, definition_id bigint, skip_reason text)
), made AS (
    INSERT INTO jobs_run (
        job_id, definition_id, schedule_id, scheduled_for, trigger, requested_by, state, reason, queue, priority,
        run_at, params, in_process, attempt, handed_back, created_at, finished_at)
    SELECT
        w.job_id, d.id, w.schedule_id, w.scheduled_for, w.trigger, w.requested_by,
        CASE WHEN w.skip_reason IS NOT NULL THEN 'skipped'
             WHEN w.not_before > clock_timestamp() THEN 'scheduled'
             ELSE 'queued' END,
        coalesce(w.skip_reason, ''), d.content->>'queue',
        coalesce(w.priority, (d.content->>'priority')::smallint),
        coalesce(w.not_before, w.scheduled_for, clock_timestamp()), w.params,
        (d.content->>'in_process')::boolean, 0, 0, clock_timestamp(),
        CASE WHEN w.skip_reason IS NOT NULL THEN clock_timestamp() END
    FROM wanted w
    JOIN jobs_job j ON j.id = w.job_id
    JOIN jobs_definition d ON d.id = coalesce(w.definition_id, j.definition_id)
    ORDER BY w.position
    ON CONFLICT (schedule_id, scheduled_for) WHERE schedule_id IS NOT NULL DO NOTHING
    RETURNING id, job_id, queue, state, reason, requested_by, trigger
), noted AS (
    INSERT INTO jobs_transition (run_id, at, before, after, reason, attempt, actor)
    SELECT id, clock_timestamp(), NULL, state, reason, 0, coalesce(nullif(requested_by, ''), trigger) FROM made
)
SELECT id, job_id, queue, state FROM made ORDER BY id
"""


def create(execute: Execute, births: Sequence[Birth]) -> list[Born]:
    """Make runs in one statement. An instant of a schedule that has its run already is passed over."""
    if not births:
        return []
    rows = execute(_CREATE, {"births": json.dumps([_as_json(birth) for birth in births])})
    return [Born(id=id, job_id=job, queue=queue, state=State(state)) for id, job, queue, state in rows]


def _as_json(birth: Birth) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value := getattr(birth, name), datetime) else value
        for name in birth.__slots__
    }
