"""Jobs of a file while they are checked: what each should be, and how that differs from what there is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from jobs.store.session import Execute, local_settings

COLUMNS: Final = (
    "description",
    "kind",
    "spec",
    "queue",
    "priority",
    "timeout",
    "grace",
    "max_wait",
    "deadline",
    "retries",
    "on_lost",
    "background",
    "env",
    "params",
    "in_process",
    "overlap",
    "max_running",
    "concurrency_key",
    "unique_waiting",
    "rate",
)
"""The columns of a job that its file decides. Beside them, a file may say whether the job is paused."""

BY_INDEX: Final = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off", "jit": "off"}
"""Each staged job finds what belongs to it by an index. Statistics are as old as the last ANALYZE, and the plan of a
prepared statement is older: by those of a table that has grown since, the planner would scan all jobs, or scan them
once for each staged one.

For the same reason, statements compare a key by `= ANY(ARRAY[…])`: for a plain `=`, the planner also considers to scan
the whole index, which costs the same as one look-up while a table is small.
"""

IN_ORDER: Final = {**BY_INDEX, "join_collapse_limit": "1", "enable_material": "off"}
"""The same, and tables are joined in the order in which a statement names them. Not for statements that fire triggers:
their queries would be planned so as well."""

SCHEDULE: Final = """jsonb_to_record(w.schedule) AS n(
    crontab text[], every int, period text, clocked timestamptz, stored jsonb, start_time timestamptz,
    expires timestamptz, one_off boolean, catch_up text, catch_up_window interval, catch_up_limit int,
    jitter interval, exclusions jsonb)"""
"""The wanted schedule of the staged job `w` as columns of `n`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Staged:
    """A job as it should be: `fields` are columns of the job, `schedule` is None when it runs on request."""

    position: int
    name: str
    fields: dict[str, Any]
    schedule: dict[str, Any] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Unchecked:
    """A staged job whose schedule is new or changes, and may never be due. `anchor` is that of its present one."""

    position: int
    anchor: datetime | None


def new_batch(execute: Execute) -> int:
    """Return a number for staged jobs that belong to no `Apply`."""
    [(number,)] = execute("SELECT nextval(pg_get_serial_sequence('jobs_apply', 'id'))", {})
    return int(number)


def add(execute: Execute, batch: int, jobs: Sequence[Staged]) -> None:
    """Store jobs as they should be."""
    execute(
        """
        INSERT INTO jobs_stagedjob (batch, position, name, fields, schedule)
        SELECT %(batch)s, i.* FROM unnest(
            %(positions)s::int[], %(names)s::text[], %(fields)s::jsonb[], %(schedules)s::jsonb[]) AS i
        """,
        {
            "batch": batch,
            "positions": [job.position for job in jobs],
            "names": [job.name for job in jobs],
            "fields": [json.dumps(job.fields) for job in jobs],
            "schedules": [None if job.schedule is None else json.dumps(job.schedule) for job in jobs],
        },
    )


def count_anew(execute: Execute) -> None:
    """Let the planner know how much is staged: by older statistics it would go through the batch once for each job."""
    execute("ANALYZE jobs_stagedjob", {})


def compare(execute: Execute, batch: int, *, project: str) -> None:
    """Find out how staged jobs differ from what there is. Call inside a transaction.

    What others change afterwards is not noticed.
    """
    with local_settings(execute, IN_ORDER):
        execute(_COMPARE, {"batch": batch, "project": project})


def unchecked(execute: Execute, batch: int) -> list[Unchecked]:
    """Return the compared jobs whose new schedule was not checked yet, in the order of the file."""
    rows = execute(
        """
        SELECT w.position, s.anchor FROM jobs_stagedjob w
        LEFT JOIN jobs_schedule s ON s.periodic_task_id = ANY(ARRAY[w.task_id])
        WHERE w.batch = %(batch)s AND (w.is_moved OR w.has_other_exclusions) AND NOT w.is_due_some_day
        ORDER BY w.position
        """,
        {"batch": batch},
    )
    return [Unchecked(position=position, anchor=anchor) for position, anchor in rows]


def mark_checked(execute: Execute, batch: int, positions: Iterable[int]) -> None:
    """Record that the schedules of these jobs are due some day."""
    execute(
        """
        UPDATE jobs_stagedjob SET is_due_some_day = true
        WHERE batch = %(batch)s AND position = ANY(%(positions)s::int[])
        """,
        {"batch": batch, "positions": list(positions)},
    )


def clear(execute: Execute, batch: int) -> None:
    """Delete the staged jobs of a batch."""
    execute("DELETE FROM jobs_stagedjob WHERE batch = %(batch)s", {"batch": batch})


def _columns_of(alias: str) -> str:
    return ", ".join(f"{alias}.{column}" for column in COLUMNS)


_COMPARE: Final = f"""
UPDATE jobs_stagedjob o SET
    job_id = j.id,
    task_id = s.periodic_task_id,
    differs = j.id IS NOT NULL AND (
        ({_columns_of("j")}) IS DISTINCT FROM ({_columns_of("r")}) OR (w.fields ? 'paused' AND j.paused <> r.paused)),
    is_moved = w.schedule IS NOT NULL AND (
        s.periodic_task_id IS NULL OR t.solar_id IS NOT NULL
        OR (t.one_off, t.start_time, t.expires, s.timetable, k.clocked_time, i.every, i.period,
            CASE WHEN c.id IS NOT NULL THEN ARRAY[
                c.minute, c.hour, c.day_of_month, c.month_of_year, c.day_of_week, c.timezone]::text[] END)
        IS DISTINCT FROM
           (n.one_off, n.start_time, n.expires, n.stored, n.clocked, n.every, n.period, n.crontab)),
    has_other_policies = w.schedule IS NOT NULL AND s.periodic_task_id IS NOT NULL AND
        (s.catch_up, s.catch_up_window, s.catch_up_limit, s.jitter, s.exclusions)
        IS DISTINCT FROM (n.catch_up, n.catch_up_window, n.catch_up_limit, n.jitter, n.exclusions),
    has_other_exclusions = w.schedule IS NOT NULL AND s.periodic_task_id IS NOT NULL
        AND s.exclusions IS DISTINCT FROM n.exclusions,
    is_unscheduled = w.schedule IS NULL AND s.periodic_task_id IS NOT NULL
FROM jobs_stagedjob w
CROSS JOIN LATERAL jsonb_populate_record(NULL::jobs_job, w.fields) AS r
LEFT JOIN LATERAL {SCHEDULE} ON true
LEFT JOIN jobs_job j ON j.project_id = (SELECT id FROM jobs_project WHERE name = %(project)s)
    AND j.name = w.name AND j.archived_at IS NULL
LEFT JOIN jobs_schedule s ON s.job_id = ANY(ARRAY[j.id])
LEFT JOIN django_celery_beat_periodictask t ON t.id = ANY(ARRAY[s.periodic_task_id])
LEFT JOIN django_celery_beat_crontabschedule c ON c.id = ANY(ARRAY[t.crontab_id])
LEFT JOIN django_celery_beat_intervalschedule i ON i.id = ANY(ARRAY[t.interval_id])
LEFT JOIN django_celery_beat_clockedschedule k ON k.id = ANY(ARRAY[t.clocked_id])
WHERE w.batch = %(batch)s AND o.ctid = w.ctid
"""
