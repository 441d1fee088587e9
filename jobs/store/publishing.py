"""Make jobs what a staged file says, all at once. Every step is one statement, however many jobs there are.

No row that jobs share is locked for writing: neither the project, nor the row by which django-celery-beat notices
edits. Crontabs and the like are held FOR SHARE, which only holds up whoever edits that very row.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from django.core.serializers.json import DjangoJSONEncoder
from django_celery_beat.models import PeriodicTask

from jobs.store.session import Execute, local_settings
from jobs.store.staging import BY_INDEX, COLUMNS, IN_ORDER, SCHEDULE

PATIENCE: Final = {"lock_timeout": "5s"}
"""How long a publication waits for somebody else who is changing one of its jobs."""
_HASHED: Final = {"enable_nestloop": "off", "enable_hashjoin": "on", "enable_seqscan": "on"}
"""Rows of django-celery-beat that are looked for by their contents have no index: each staged job would scan them."""


class Collision(Exception):
    """Somebody else has made a job of the same name at the same moment."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """How many staged jobs need what."""

    created: int
    differing: int
    moved: int
    newly_scheduled: int
    with_other_policies: int
    unscheduled: int

    @property
    def of_schedules(self) -> bool:
        """Whether django-celery-beat's rows change."""
        return bool(self.moved or self.unscheduled)


def lock(execute: Execute, batch: int, *, project: str) -> None:
    """Lock the present jobs of a batch until the end of the transaction, in the order of their numbers.

    Whoever publishes one of them at the same time waits here, and then compares with what this one has made.
    """
    with local_settings(execute, IN_ORDER):
        execute(
            """
            SELECT FROM jobs_stagedjob w
            JOIN jobs_job j ON j.project_id = (SELECT id FROM jobs_project WHERE name = %(project)s)
                AND j.name = w.name AND j.archived_at IS NULL
            WHERE w.batch = %(batch)s
            ORDER BY j.id FOR NO KEY UPDATE OF j
            """,
            {"batch": batch, "project": project},
        )


def changes(execute: Execute, batch: int) -> Changes:
    """Count what a compared batch changes."""
    [row] = execute(
        """
        SELECT count(*) FILTER (WHERE job_id IS NULL), count(*) FILTER (WHERE differs),
            count(*) FILTER (WHERE is_moved), count(*) FILTER (WHERE is_moved AND task_id IS NULL),
            count(*) FILTER (WHERE has_other_policies), count(*) FILTER (WHERE is_unscheduled)
        FROM jobs_stagedjob WHERE batch = %(batch)s
        """,
        {"batch": batch},
    )
    return Changes(
        created=row[0],
        differing=row[1],
        moved=row[2],
        newly_scheduled=row[3],
        with_other_policies=row[4],
        unscheduled=row[5],
    )


def results(execute: Execute, batch: int) -> list[tuple[str, str]]:
    """Return each compared job and `created`, `updated` or `unchanged`, in the order of the file."""
    rows = execute(
        """
        SELECT name, CASE WHEN job_id IS NULL THEN 'created'
            WHEN differs OR is_moved OR has_other_policies OR is_unscheduled THEN 'updated' ELSE 'unchanged' END
        FROM jobs_stagedjob WHERE batch = %(batch)s ORDER BY position
        """,
        {"batch": batch},
    )
    return [(name, result) for name, result in rows]


def publish(execute: Execute, batch: int, *, project: str, actor: str, wanted: Changes) -> None:
    """Do all that a locked and compared batch needs. Raises Collision; the caller then rolls back and tries again."""
    # The trigger that keeps the last rule of a deleted schedule reads the actor.
    with local_settings(execute, {**BY_INDEX, "jobsched.actor": actor}):
        _publish(execute, {"batch": batch, "project": project}, wanted)


def _publish(execute: Execute, asked: dict[str, Any], wanted: Changes) -> None:
    if wanted.created:
        execute("INSERT INTO jobs_project (name) VALUES (%(project)s) ON CONFLICT DO NOTHING", asked)
        if len(execute(_CREATE_JOBS, asked)) < wanted.created:
            raise Collision
    if wanted.differing:
        execute(_CHANGE_JOBS, asked)
    if wanted.unscheduled:
        execute(_UNSCHEDULE, asked)
    if wanted.moved:
        with local_settings(execute, _HASHED):
            for statement in _RULES:
                execute(statement, asked)
    if wanted.moved > wanted.newly_scheduled or wanted.with_other_policies:
        execute(_CHANGE_RULES, asked)
        execute(_MOVE_TASKS, asked)
        execute(_CHANGE_SCHEDULES, asked)
    if wanted.newly_scheduled:
        execute(_DELETE_PARTED_TASKS, asked)
        execute(_CREATE_TASKS, {**asked, "defaults": _task_defaults()})


def count_anew(execute: Execute) -> None:
    """Let the planner know that there are many more jobs than before. Autovacuum would do so within minutes."""
    execute("ANALYZE jobs_job, jobs_schedule, django_celery_beat_periodictask, django_celery_beat_crontabschedule", {})


def _task_defaults() -> str:
    """Return what a PeriodicTask has in each column that we do not set, whatever columns its version has."""
    defaults: dict[str, Any] = {
        field.column: field.get_default() for field in PeriodicTask._meta.concrete_fields if not field.primary_key
    }
    return json.dumps(defaults, cls=DjangoJSONEncoder)


_FIELDS: Final = "jsonb_populate_record(NULL::jobs_job, w.fields) AS r"
_LISTED: Final = ", ".join(COLUMNS)
_WANTED: Final = ", ".join(f"r.{column}" for column in COLUMNS)
_SET: Final = ", ".join(f"{column} = r.{column}" for column in COLUMNS)

# By name, so that two files with the same new jobs wait for each other and meet in no deadlock.
_CREATE_JOBS: Final = f"""
INSERT INTO jobs_job (project_id, name, paused, {_LISTED})
SELECT p.id, w.name, coalesce(r.paused, false), {_WANTED}
FROM jobs_stagedjob w CROSS JOIN LATERAL {_FIELDS}, jobs_project p
WHERE w.batch = %(batch)s AND w.job_id IS NULL AND p.name = %(project)s
ORDER BY w.name
ON CONFLICT (project_id, name) WHERE archived_at IS NULL DO NOTHING
RETURNING id
"""
_CHANGE_JOBS: Final = f"""
UPDATE jobs_job j SET paused = coalesce(r.paused, j.paused), {_SET}
FROM jobs_stagedjob w CROSS JOIN LATERAL {_FIELDS}
WHERE w.batch = %(batch)s AND w.differs AND j.id = ANY(ARRAY[w.job_id])
"""
_UNSCHEDULE: Final = """
DELETE FROM django_celery_beat_periodictask
WHERE id = ANY(ARRAY(SELECT task_id FROM jobs_stagedjob WHERE batch = %(batch)s AND is_unscheduled))
"""

# Rows of django-celery-beat that say when are shared by jobs, and so never altered. They are held before any schedule
# is locked: whoever edits such a row locks it first, and then the schedules that name it.
_MOVED: Final = f"""(
    SELECT w.id, n.* FROM jobs_stagedjob w CROSS JOIN LATERAL {SCHEDULE}
    WHERE w.batch = %(batch)s AND w.is_moved) AS m"""
_CRONTAB: Final = "ARRAY[c.minute, c.hour, c.day_of_month, c.month_of_year, c.day_of_week, c.timezone]::text[]"
_RULES: Final = (
    f"""
    INSERT INTO django_celery_beat_crontabschedule (
        minute, hour, day_of_month, month_of_year, day_of_week, timezone)
    SELECT f.crontab[1], f.crontab[2], f.crontab[3], f.crontab[4], f.crontab[5], f.crontab[6]
    FROM (SELECT DISTINCT m.crontab FROM {_MOVED} WHERE m.crontab IS NOT NULL) AS f
    WHERE NOT EXISTS (SELECT FROM django_celery_beat_crontabschedule c WHERE {_CRONTAB} = f.crontab)
    """,
    f"""
    INSERT INTO django_celery_beat_intervalschedule (every, period)
    SELECT f.every, f.period
    FROM (SELECT DISTINCT m.every, m.period FROM {_MOVED} WHERE m.every IS NOT NULL) AS f
    WHERE NOT EXISTS (
        SELECT FROM django_celery_beat_intervalschedule i WHERE i.every = f.every AND i.period = f.period)
    """,
    f"""
    INSERT INTO django_celery_beat_clockedschedule (clocked_time)
    SELECT f.clocked FROM (SELECT DISTINCT m.clocked FROM {_MOVED} WHERE m.clocked IS NOT NULL) AS f
    WHERE NOT EXISTS (SELECT FROM django_celery_beat_clockedschedule k WHERE k.clocked_time = f.clocked)
    """,
    f"""
    WITH m AS MATERIALIZED (SELECT * FROM {_MOVED}), c AS MATERIALIZED (
        SELECT {_CRONTAB} AS fields, min(c.id) AS id FROM django_celery_beat_crontabschedule c GROUP BY 1
    ), i AS MATERIALIZED (
        SELECT every, period::text AS period, min(id) AS id FROM django_celery_beat_intervalschedule GROUP BY 1, 2
    ), k AS MATERIALIZED (
        SELECT clocked_time, min(id) AS id FROM django_celery_beat_clockedschedule GROUP BY 1
    )
    UPDATE jobs_stagedjob o SET crontab_id = c.id, interval_id = i.id, clocked_id = k.id
    FROM m
    LEFT JOIN c ON c.fields = m.crontab
    LEFT JOIN i ON i.every = m.every AND i.period = m.period
    LEFT JOIN k ON k.clocked_time = m.clocked
    WHERE o.id = m.id
    """,
    *(
        f"""
        SELECT FROM django_celery_beat_{kind}schedule
        WHERE id IN (SELECT {kind}_id FROM jobs_stagedjob WHERE batch = %(batch)s AND is_moved)
        ORDER BY id FOR SHARE
        """
        for kind in ("crontab", "interval", "clocked")
    ),
)
# For all at once what triggers would do for each.
_CHANGE_RULES: Final = f"""
SELECT jobs_change_rule(ARRAY(
    SELECT w.task_id FROM jobs_stagedjob w CROSS JOIN LATERAL {SCHEDULE}
    JOIN jobs_schedule s ON s.periodic_task_id = ANY(ARRAY[w.task_id])
    WHERE w.batch = %(batch)s
        AND (w.is_moved OR (s.jitter, s.exclusions) IS DISTINCT FROM (n.jitter, n.exclusions))))
"""
_MOVE_TASKS: Final = f"""
UPDATE django_celery_beat_periodictask t SET
    one_off = n.one_off, enabled = true, start_time = n.start_time, expires = n.expires, crontab_id = w.crontab_id,
    interval_id = w.interval_id, clocked_id = w.clocked_id, solar_id = NULL, date_changed = clock_timestamp()
FROM jobs_stagedjob w CROSS JOIN LATERAL {SCHEDULE}
WHERE w.batch = %(batch)s AND w.is_moved AND t.id = ANY(ARRAY[w.task_id])
"""
_CHANGE_SCHEDULES: Final = f"""
UPDATE jobs_schedule s SET
    timetable = n.stored, catch_up = n.catch_up, catch_up_window = n.catch_up_window,
    catch_up_limit = n.catch_up_limit, jitter = n.jitter, exclusions = n.exclusions
FROM jobs_stagedjob w CROSS JOIN LATERAL {SCHEDULE}
WHERE w.batch = %(batch)s AND (w.is_moved OR w.has_other_policies) AND s.periodic_task_id = ANY(ARRAY[w.task_id])
"""

_NEWLY_SCHEDULED: Final = """
jobs_stagedjob w
JOIN jobs_project p ON p.name = %(project)s
JOIN jobs_job j ON j.project_id = p.id AND j.name = w.name AND j.archived_at IS NULL"""
_TASK_NAME: Final = "format('%%s/%%s (job %%s)', p.name, j.name, j.id)"
# A row that SQL has parted from its job, or from our row beside it, has the name still.
_DELETE_PARTED_TASKS: Final = f"""
DELETE FROM django_celery_beat_periodictask t
WHERE t.task = 'jobs.trigger'
    AND t.name IN (
        SELECT {_TASK_NAME} FROM {_NEWLY_SCHEDULED}
        WHERE w.batch = %(batch)s AND w.is_moved AND w.task_id IS NULL AND w.job_id IS NOT NULL)
    AND NOT EXISTS (SELECT FROM jobs_schedule s WHERE s.periodic_task_id = t.id AND s.job_id IS NOT NULL)
"""
# Our row first: the trigger that follows a new PeriodicTask finds it, and need not be followed by an update. A moment
# that has passed already is due at once, as it is for stock beat. The task's name is for people: beat makes runs of
# this row and sends no message. No Celery task answers to it, since whoever can write to the broker may wake workers
# and must not request jobs.
_CREATE_TASKS: Final = f"""
WITH fresh AS MATERIALIZED (
    SELECT nextval(pg_get_serial_sequence('django_celery_beat_periodictask', 'id')) AS task_id,
        j.id AS job_id, j.paused, {_TASK_NAME} AS task_name, j.name AS job_name, p.name AS project_name,
        w.crontab_id, w.interval_id, w.clocked_id, n.*
    FROM {_NEWLY_SCHEDULED}
    CROSS JOIN LATERAL {SCHEDULE}
    WHERE w.batch = %(batch)s AND w.is_moved AND w.task_id IS NULL
    ORDER BY w.position
), remembered AS (
    INSERT INTO jobs_schedule (
        periodic_task_id, job_id, timetable, catch_up, catch_up_window, catch_up_limit, jitter, exclusions, cursor,
        anchor, stale, switched_off, paused)
    SELECT task_id, job_id, stored, catch_up, catch_up_window, catch_up_limit, jitter, exclusions, b.begins, b.begins,
        true, false, paused
    FROM fresh, LATERAL (
        SELECT least(clock_timestamp(), clocked - interval '1 microsecond') AS begins) AS b
)
INSERT INTO django_celery_beat_periodictask
SELECT t.* FROM fresh f CROSS JOIN LATERAL jsonb_populate_record(
    NULL::django_celery_beat_periodictask,
    %(defaults)s::jsonb || jsonb_build_object(
        'id', f.task_id, 'name', f.task_name, 'task', 'jobs.trigger',
        'args', jsonb_build_array(f.job_name)::text, 'kwargs', jsonb_build_object('project', f.project_name)::text,
        'one_off', f.one_off, 'enabled', true, 'start_time', f.start_time, 'expires', f.expires,
        'crontab_id', f.crontab_id, 'interval_id', f.interval_id, 'clocked_id', f.clocked_id,
        'date_changed', clock_timestamp())) AS t
"""
