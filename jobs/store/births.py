"""New runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any, Final

from jobs.store.session import Execute, array
from jobsched.domain.states import State


# Not frozen: a rush makes thousands, and to freeze one takes longer than to make it.
@dataclass(kw_only=True, slots=True)
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
    skipped_until: datetime | None = None
    skipped_count: int | None = None
    """For a skipped run that stands for several instants."""
    retry_of: int | None = None
    """The run that this one repeats."""
    lane: str | None = None
    """For a job with limits, which are judged where it is set: see `jobs.store.limits`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Born:
    """A run that was made just now."""

    id: int
    job_id: int
    queue: str
    state: State
    lane: str | None
    held: int


# Queue and priority come from the definition the run will be performed by, read in the same statement. Arrays cost
# the database and Python half of what JSON would; one that holds nothing is sent as NULL, which gives NULLs as well.
_WANTED: Final = """
WITH wanted AS (
    SELECT * FROM unnest(
        %(job_id)s::bigint[], %(trigger)s::text[], %(requested_by)s::text[], %(schedule_id)s::bigint[],
        %(scheduled_for)s::timestamptz[], %(not_before)s::timestamptz[], %(params)s::jsonb[], %(priority)s::smallint[],
        %(definition_id)s::bigint[], %(skip_reason)s::text[], %(skipped_until)s::timestamptz[],
        %(skipped_count)s::int[], %(retry_of)s::bigint[], %(lane)s::text[]) WITH ORDINALITY
    AS i(job_id, trigger, requested_by, schedule_id, scheduled_for, not_before, params, priority, definition_id,
        skip_reason, skipped_until, skipped_count, retry_of, lane, position)
"""
MADE: Final = """), made AS (
    INSERT INTO jobs_run (
        job_id, definition_id, schedule_id, scheduled_for, trigger, requested_by, state, reason, queue, priority,
        run_at, params, in_process, batchable, attempt, handed_back, created_at, finished_at, skipped_until,
        skipped_count, lane, held, retry_of, wait_seconds, deadline_at, expires_at)
    SELECT
        w.job_id, d.id, w.schedule_id, w.scheduled_for, coalesce(w.trigger, 'schedule'),
        coalesce(w.requested_by, ''),
        CASE WHEN w.skip_reason IS NOT NULL THEN 'skipped'
             WHEN w.not_before > clock_timestamp() THEN 'scheduled'
             ELSE 'queued' END,
        coalesce(w.skip_reason, CASE WHEN w.not_before > clock_timestamp() THEN NULL
            WHEN j.limited THEN 'waits for its turn under the limits of its job'
            WHEN q.name IS NOT NULL THEN 'waits for its turn at the rate of its queue' END, ''), d.content->>'queue',
        coalesce(w.priority, (d.content->>'priority')::smallint),
        coalesce(w.not_before, w.scheduled_for, clock_timestamp()), w.params,
        (d.content->>'in_process')::boolean,
        (d.content->>'in_process')::boolean AND d.content->>'on_lost' <> 'fail', 0, 0, clock_timestamp(),
        CASE WHEN w.skip_reason IS NOT NULL THEN clock_timestamp() END, w.skipped_until, w.skipped_count,
        CASE WHEN j.limited OR w.lane IS NOT NULL THEN coalesce(w.lane, '') END,
        CASE WHEN w.skip_reason IS NOT NULL OR w.not_before > clock_timestamp() THEN 0
             WHEN j.limited OR w.lane IS NOT NULL THEN 2
             WHEN q.name IS NOT NULL THEN 1
             ELSE 0 END,
        w.retry_of, t.wait_seconds, t.deadline_at,
        -- Its wait in the queue begins when it is queued.
        least(t.deadline_at, CASE WHEN w.not_before > clock_timestamp() THEN NULL
            ELSE clock_timestamp() + t.wait_seconds * interval '1 second' END)
    FROM wanted w
    JOIN jobs_job j ON j.id = w.job_id
    JOIN jobs_definition d ON d.id = coalesce(w.definition_id, j.definition_id)
    LEFT JOIN jobs_queue q ON q.name = d.content->>'queue' AND q.rate <> ''
    LEFT JOIN LATERAL (SELECT
        (d.content->>'max_wait_seconds')::double precision AS wait_seconds,
        greatest(w.not_before, clock_timestamp())
            + (d.content->>'deadline_seconds')::double precision * interval '1 second' AS deadline_at
        WHERE w.skip_reason IS NULL
    ) AS t ON true
    ORDER BY w.position
    ON CONFLICT DO NOTHING
    RETURNING {returned}
), noted AS (
    INSERT INTO jobs_transition (run_id, at, before, after, reason, attempt, actor)
    SELECT id, clock_timestamp(), NULL, state, reason, 0, coalesce(nullif(requested_by, ''), trigger) FROM made
)
"""
"""Make what a CTE `wanted` asks for, in the columns of a Birth, and return columns of it in a CTE `made`."""
_CREATE: Final = (
    _WANTED
    + MADE.format(returned="id, job_id, queue, state, reason, requested_by, trigger, lane, held")
    + "SELECT id, job_id, queue, state, lane, held FROM made ORDER BY id"
)


def create(execute: Execute, births: Sequence[Birth]) -> list[Born]:
    """Make runs in one statement. An instant of a schedule that has its run already is passed over.

    Those of limited jobs wait until `limits.admit` lets them go.
    """
    if not births:
        return []
    columns = {name: _column(name, births) for name in Birth.__slots__}
    return [
        Born(id=id, job_id=job, queue=queue, state=State(state), lane=lane, held=held)
        for id, job, queue, state, lane, held in execute(_CREATE, columns)
    ]


def rehearse(execute: Execute) -> None:
    """Make no runs, so that the statement that makes them is planned."""
    execute(_CREATE, dict.fromkeys(Birth.__slots__))


def _as_json(values: list[dict[str, Any] | None]) -> list[str | None]:
    """Return values as JSON. The runs of one request share their parameters, and so one text."""
    texts = {id(value): json.dumps(value) for value in {id(value): value for value in values}.values()}
    return [None if value is None else texts[id(value)] for value in values]


_LEFT_OUT = {"trigger": "schedule", "requested_by": ""}
_OF_TEXT = {"trigger", "requested_by", "params", "skip_reason", "lane"}


def _column(name: str, births: Sequence[Birth]) -> str | list[str | None] | None:
    values = list(map(attrgetter(name), births))
    if name == "params":
        values = _as_json(values)
    if set(values) <= {None, _LEFT_OUT.get(name)}:
        return None
    return values if name in _OF_TEXT else array(values)
