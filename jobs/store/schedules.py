"""The scheduler's memory: which schedules are due or edited, and how far each is accounted for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from jobs.rules import Rule
from jobs.store.beatwatch import LEASES_MAY_BE_JUDGED, judging
from jobs.store.session import Execute, array


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """What a PeriodicTask that names a plain Celery task asks to be sent, as its columns say it."""

    name: str
    task: str
    args: str
    kwargs: str
    queue: str | None
    exchange: str | None
    routing_key: str | None
    headers: str
    priority: int | None
    expire_seconds: int | None
    expires: datetime | None
    now: datetime
    """The database's clock: an expiry counts from it, whatever the clock of this host says."""


# Not frozen: a rush makes thousands, and to freeze one takes longer than to make it.
@dataclass(kw_only=True, slots=True)
class Entry:
    """One schedule, locked until the end of the transaction. `now` is the database's clock."""

    id: int
    now: datetime
    next_fire_at: datetime | None
    cursor: datetime
    rule: Rule
    one_off: bool
    catch_up: str
    catch_up_window: timedelta
    catch_up_limit: int
    jitter: timedelta
    held_why: str
    held_until: datetime | None
    """When it was held for the last time, until then."""
    job_id: int | None
    last_run_at: datetime | None
    """Later than `cursor` when another scheduler ran it since."""
    run_count: int
    limited: bool
    """The job has limits that its runs are held to."""
    message: Message | None
    """For a schedule that names a plain Celery task."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Advance:
    """How far a schedule is accounted for now. `fired` counts the instants that led to a run or message."""

    id: int
    cursor: datetime
    next_fire_at: datetime | None
    fired: int = 0
    finished: bool = False
    """A one-off that has fired: it is switched off, as django-celery-beat does."""
    still_owes: bool = False
    """Something that was due while the schedule was held has no record yet."""


_ENTRY = """
SELECT s.periodic_task_id, clock_timestamp(), s.next_fire_at, s.cursor,
    c.minute, c.hour, c.day_of_month, c.month_of_year, c.day_of_week, c.timezone,
    i.every, i.period, k.clocked_time, o.event, o.latitude::text, o.longitude::text,
    s.timetable::text, s.exclusions::text, s.anchor, t.start_time, t.expires,
    t.one_off, s.catch_up, s.catch_up_window, s.catch_up_limit, s.jitter, s.held_why, s.held_until, s.job_id,
    t.last_run_at, t.total_run_count, {job}
FROM jobs_schedule s
JOIN django_celery_beat_periodictask t ON t.id = s.periodic_task_id
LEFT JOIN django_celery_beat_crontabschedule c ON c.id = t.crontab_id
LEFT JOIN django_celery_beat_intervalschedule i ON i.id = t.interval_id
LEFT JOIN django_celery_beat_clockedschedule k ON k.id = t.clocked_id
LEFT JOIN django_celery_beat_solarschedule o ON o.id = t.solar_id
"""
_OF_JOB = _ENTRY.format(job="j.limited") + " JOIN jobs_job j ON j.id = s.job_id"
_PLAIN = _ENTRY.format(
    job="t.name, t.task, t.args, t.kwargs, t.queue, t.exchange, t.routing_key, t.headers, t.priority, t.expire_seconds"
)
# Chosen before anything is joined, or the planner may walk the other tables from their beginnings. The clock stands in
# a query of its own: an index is searched by what stays the same, and clock_timestamp() does not.
_CHOSEN = " WHERE s.periodic_task_id = ANY(ARRAY(SELECT periodic_task_id FROM jobs_schedule WHERE {}))"
_DUE = (
    _CHOSEN.format(
        "next_fire_at <= (SELECT clock_timestamp()) AND NOT switched_off AND NOT paused AND job_id IS {} NULL "
        "ORDER BY next_fire_at LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED"
    )
    + " ORDER BY s.next_fire_at FOR NO KEY UPDATE OF t, s SKIP LOCKED"
)
_STALE = (
    "SELECT periodic_task_id FROM jobs_schedule WHERE stale ORDER BY periodic_task_id LIMIT %(limit)s "
    "FOR UPDATE SKIP LOCKED"
)


def lock_due_jobs(execute: Execute, *, limit: int) -> list[Entry]:
    """Lock due schedules of jobs. Call inside a transaction.

    Schedules that another beat holds, or that somebody is editing, are passed over. Both rows are locked here, without
    waiting for either: an edit takes the PeriodicTask first and its trigger then ours, and a beat that waited would
    meet it in a deadlock.
    """
    return [_entry(row) for row in execute(_OF_JOB + _DUE.format("NOT"), {"limit": limit})]


def lock_due_tasks(execute: Execute, *, limit: int) -> list[Entry]:
    """Lock due schedules that name plain Celery tasks. See `lock_due_jobs`."""
    return [_entry(row) for row in execute(_PLAIN + _DUE.format(""), {"limit": limit})]


def lock_stale(execute: Execute, *, limit: int) -> list[Entry]:
    """Lock schedules that were made or edited since they were last looked at. Call inside a transaction.

    Locked first and read afterwards: one statement that did both would read the rule as it was before it had the lock,
    and an edit committed in between would be lost for good.
    """
    ids = [id for (id,) in execute(_STALE, {"limit": limit})]
    if not ids:
        return []
    rows = execute(_ENTRY.format(job="false") + " WHERE s.periodic_task_id = ANY(%(ids)s::bigint[])", {"ids": ids})
    return [_entry(row) for row in rows]


def name_actor(execute: Execute, actor: str) -> None:
    """Name who deletes schedules until the end of this transaction, for the trigger that keeps the last rule.

    Without a name the schedule counts as deleted outside of jobsched.
    """
    execute("SELECT set_config('jobsched.actor', %(actor)s, true)", {"actor": actor})


@dataclass(frozen=True, kw_only=True, slots=True)
class Unrecorded:
    """A rule that a schedule of a job had after `begins` up to `until`, and that no beat had looked at."""

    id: int
    schedule_id: int
    job_id: int
    begins: datetime
    until: datetime
    rule: dict[str, Any]


def lock_unrecorded(execute: Execute, *, limit: int) -> list[Unrecorded]:
    """Lock rules that were changed, or deleted with their schedules, before a beat had looked at them.

    Call inside a transaction.
    """
    rows = execute(
        """
        SELECT id, schedule_id, job_id, begins, until, rule::text FROM jobs_formerschedule WHERE unrecorded
        ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        """,
        {"limit": limit},
    )
    return [
        Unrecorded(id=id, schedule_id=schedule, job_id=job, begins=begins, until=until, rule=json.loads(rule))
        for id, schedule, job, begins, until, rule in rows
    ]


def mark_recorded(execute: Execute, unrecorded: Sequence[Unrecorded]) -> None:
    """Note that what was due by these rules is recorded."""
    if unrecorded:
        execute(
            "UPDATE jobs_formerschedule SET unrecorded = false WHERE id = ANY(%(ids)s::bigint[])",
            {"ids": array(former.id for former in unrecorded)},
        )


def _entry(row: Sequence[Any]) -> Entry:
    return Entry(
        id=row[0],
        now=row[1],
        next_fire_at=row[2],
        cursor=row[3],
        rule=Rule(
            crontab=tuple(row[4:10]) if row[4] is not None else None,
            interval=tuple(row[10:12]) if row[10] is not None else None,
            clocked=row[12],
            solar=tuple(row[13:16]) if row[13] is not None else None,
            stored=row[16],
            exclusions=row[17],
            anchor=row[18],
            start_time=row[19],
            expires=row[20],
        ),
        one_off=row[21],
        catch_up=row[22],
        catch_up_window=row[23],
        catch_up_limit=row[24],
        jitter=row[25],
        held_why=row[26],
        held_until=row[27],
        job_id=row[28],
        last_run_at=row[29],
        run_count=row[30],
        limited=row[31] is True,
        message=_message(row) if len(row) > 32 else None,
    )


def _message(row: Sequence[Any]) -> Message:
    return Message(
        name=row[31],
        task=row[32],
        args=row[33],
        kwargs=row[34],
        queue=row[35],
        exchange=row[36],
        routing_key=row[37],
        headers=row[38],
        priority=row[39],
        expire_seconds=row[40],
        expires=row[20],
        now=row[1],
    )


_ADVANCE = """
WITH i AS MATERIALIZED (
    SELECT * FROM unnest(
        %(ids)s::bigint[], %(cursors)s::timestamptz[], %(nexts)s::timestamptz[], %(fired)s::int[],
        %(finished)s::boolean[], %(still_owes)s::boolean[])
    AS i(id, cursor, next_fire_at, fired, finished, still_owes)
), counted AS (
    UPDATE django_celery_beat_periodictask t SET
        last_run_at = least(i.cursor, clock_timestamp()),
        total_run_count = CASE WHEN i.finished THEN 0 ELSE t.total_run_count + i.fired END,
        enabled = t.enabled AND NOT i.finished
    FROM i WHERE t.id = ANY(%(ids)s::bigint[]) AND t.id = i.id AND (i.fired > 0 OR i.finished)
)
UPDATE jobs_schedule s SET cursor = i.cursor, next_fire_at = i.next_fire_at, stale = false,
    held_why = CASE WHEN s.paused OR s.switched_off OR i.still_owes THEN s.held_why ELSE '' END
FROM i WHERE s.periodic_task_id = ANY(%(ids)s::bigint[]) AND s.periodic_task_id = i.id
"""


def advance(execute: Execute, advances: Sequence[Advance]) -> None:
    """Write down how far locked schedules are accounted for, and keep django-celery-beat's own columns true."""
    if not advances:
        return
    execute(
        _ADVANCE,
        {
            "ids": array(a.id for a in advances),
            "cursors": array(a.cursor for a in advances),
            "nexts": array(a.next_fire_at for a in advances),
            "fired": array(a.fired for a in advances),
            "finished": array(a.finished for a in advances),
            "still_owes": array(a.still_owes for a in advances),
        },
    )


def rehearse(execute: Execute) -> None:
    """Lock and advance nothing, so that the statements which do are planned."""
    lock_due_jobs(execute, limit=0)
    execute(_ADVANCE, dict.fromkeys(("ids", "cursors", "nexts", "fired", "finished", "still_owes")))


@dataclass(frozen=True, kw_only=True, slots=True)
class Agenda:
    """What there is to do, asked in one statement: idle beats cost next to nothing."""

    stale: bool
    """A schedule was changed since a beat looked at it, or was changed again or deleted before one did."""
    due_jobs: bool
    rush: bool
    """More of them than one batch takes."""
    due_tasks: bool
    due_runs: bool
    held: bool
    expired: bool
    """A lease of a running run has."""
    overdue: bool
    """A waiting run has waited longer than it may."""
    seconds_to_next: float | None
    """Until the next schedule, waiting run or rated start is due; negative when overdue."""


def agenda(execute: Execute, *, batch: int, lease: timedelta) -> Agenda:
    """Ask what is due now, and how long until something else is. More than `batch` due jobs are a rush.

    No lease counts as ended before beats have watched for the length of a `lease`.
    """
    [row] = execute(
        f"""
        WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now),
        next AS MATERIALIZED (
            SELECT
                (SELECT next_fire_at FROM jobs_schedule
                 WHERE next_fire_at IS NOT NULL AND NOT switched_off AND NOT paused AND job_id IS NOT NULL
                 ORDER BY next_fire_at LIMIT 1) AS job,
                (SELECT next_fire_at FROM jobs_schedule
                 WHERE next_fire_at IS NOT NULL AND NOT switched_off AND NOT paused AND job_id IS NULL
                 ORDER BY next_fire_at LIMIT 1) AS task,
                (SELECT run_at FROM jobs_run WHERE state = 'scheduled' ORDER BY run_at LIMIT 1) AS run,
                EXISTS (SELECT FROM jobs_run WHERE state = 'queued' AND held = 2)
                    OR EXISTS (SELECT FROM jobs_run WHERE state = 'queued' AND held = 1) AS held
        )
        SELECT
            EXISTS (SELECT FROM jobs_schedule WHERE stale) OR EXISTS (SELECT FROM jobs_formerschedule WHERE unrecorded),
            job <= now,
            CASE WHEN job <= now THEN EXISTS (
                SELECT FROM jobs_schedule
                WHERE next_fire_at <= clock.now AND NOT switched_off AND NOT paused AND job_id IS NOT NULL
                ORDER BY next_fire_at OFFSET %(batch)s) END,
            task <= now, run <= now,
            held,
            EXISTS (SELECT FROM jobs_run WHERE state = 'running' AND lease_until < now) AND {LEASES_MAY_BE_JUDGED},
            EXISTS (SELECT FROM jobs_run WHERE state IN ('scheduled', 'queued') AND expires_at <= now),
            extract(epoch FROM least(job, task, run, CASE WHEN held THEN (
                SELECT min(next_at) FROM (
                    SELECT next_at FROM jobs_gate WHERE next_at > clock.now
                    UNION ALL SELECT next_at FROM jobs_queue WHERE next_at > clock.now) AS rated) END
            ) - now)::double precision
        FROM clock, next
        """,  # noqa: S608 - the condition is ours
        {"batch": batch, **judging(lease)},
    )
    stale, due_jobs, rush, due_tasks, due_runs, held, expired, overdue, seconds = row
    return Agenda(
        stale=stale,
        due_jobs=bool(due_jobs),
        rush=bool(rush),
        due_tasks=bool(due_tasks),
        due_runs=bool(due_runs),
        held=held,
        expired=expired,
        overdue=overdue,
        seconds_to_next=seconds,
    )
