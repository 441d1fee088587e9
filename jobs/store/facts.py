"""What PostgreSQL says of itself, and the rows say of beats and workers. Read only; for the preflight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from jobs.conf import WORKER_SESSION_SUFFIX
from jobs.store.session import Execute

TRIGGERS: Final = {
    "jobs_count_by_new_rate_of_job": "jobs_job",
    "jobs_count_by_new_rate_of_queue": "jobs_queue",
    "jobs_count_runs_of_limited_job": "jobs_job",
    "jobs_follow_clocked": "django_celery_beat_clockedschedule",
    "jobs_follow_crontab": "django_celery_beat_crontabschedule",
    "jobs_follow_interval": "django_celery_beat_intervalschedule",
    "jobs_follow_periodic_task_gone": "django_celery_beat_periodictask",
    "jobs_follow_periodic_task_made": "django_celery_beat_periodictask",
    "jobs_follow_periodic_task_switched": "django_celery_beat_periodictask",
    "jobs_follow_periodic_task_timed": "django_celery_beat_periodictask",
    "jobs_follow_schedule": "jobs_schedule",
    "jobs_follow_solar": "django_celery_beat_solarschedule",
    "jobs_give_schedule_to_job": "jobs_schedule",
    "jobs_hold_schedule_of_paused_job": "jobs_job",
    "jobs_keep_definition": "jobs_job",
    "jobs_keep_jobs_of_runs": "jobs_job",
    "jobs_leave_schedule": "jobs_schedule",
}
"""The triggers that the migrations make, and their tables."""

HOT_TABLES: Final = ("jobs_run", "jobs_schedule", "jobs_outputchunk", "jobs_gate", "jobs_queue")
"""Those whose rows are changed all the time."""

_SETTINGS: Final = (
    "autovacuum",
    "data_directory",
    "fsync",
    "full_page_writes",
    "idle_in_transaction_session_timeout",
    "max_connections",
    "reserved_connections",
    "server_encoding",
    "server_version",
    "server_version_num",
    "statement_timeout",
    "superuser_reserved_connections",
    "synchronous_commit",
    "transaction_read_only",
)

_RESERVED: Final = ("superuser_reserved_connections", "reserved_connections")


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """One PostgreSQL server, as our session sees it."""

    settings: dict[str, str]
    """By name; what our account may not read is missing. Times are in milliseconds."""
    standby: bool
    sessions: int
    sees_all_sessions: bool
    """Our account may see what sessions of other accounts are doing."""
    oldest_transaction_seconds: float | None
    oldest_transaction: str
    """Whose it is: application, process and state."""
    oldest_prepared_seconds: float | None

    @property
    def allowed_sessions(self) -> int:
        """How many connections accounts like ours may have together. Some are reserved for superusers."""
        reserved = (int(self.settings.get(name, "0")) for name in _RESERVED)
        return int(self.settings["max_connections"]) - sum(reserved)


def server(execute: Execute) -> Server:
    """Return what the server says of itself."""
    settings = execute("SELECT name, setting FROM pg_settings WHERE name = ANY(%(names)s)", {"names": list(_SETTINGS)})
    [row] = execute(
        """
        SELECT pg_is_in_recovery(),
            (SELECT sum(numbackends) FROM pg_stat_database),
            pg_has_role('pg_read_all_stats', 'USAGE'),
            (SELECT extract(epoch FROM clock_timestamp() - min(prepared)) FROM pg_prepared_xacts)
        """,
        {},
    )
    oldest = execute(
        """
        SELECT extract(epoch FROM clock_timestamp() - xact_start),
            format('process %%s, %%s, %%s', pid, coalesce(nullif(application_name, ''), 'without a name'), state)
        FROM pg_stat_activity
        WHERE xact_start IS NOT NULL AND backend_type = 'client backend' AND pid <> pg_backend_pid()
        ORDER BY xact_start LIMIT 1
        """,
        {},
    )
    return Server(
        settings={name: setting for name, setting in settings if setting is not None},
        standby=row[0],
        sessions=int(row[1]),
        sees_all_sessions=row[2],
        oldest_prepared_seconds=None if row[3] is None else float(row[3]),
        oldest_transaction_seconds=float(oldest[0][0]) if oldest else None,
        oldest_transaction=oldest[0][1] if oldest else "",
    )


def worker_sessions(execute: Execute) -> int:
    """Return how many connections workers have, with their slots and runs; those of other accounts included."""
    [(count,)] = execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datid IS NOT NULL AND application_name LIKE '%%' || %(suffix)s",
        {"suffix": WORKER_SESSION_SUFFIX},
    )
    return int(count)


def missing_triggers(execute: Execute) -> list[str]:
    """Return the triggers that are not there or switched off."""
    rows = execute(
        """
        SELECT i.name FROM unnest(%(names)s::text[], %(tables)s::text[]) AS i(name, tab)
        WHERE NOT EXISTS (
            SELECT FROM pg_trigger t WHERE t.tgname = i.name AND t.tgrelid = to_regclass(i.tab) AND t.tgenabled <> 'D')
        ORDER BY i.name
        """,
        {"names": list(TRIGGERS), "tables": list(TRIGGERS.values())},
    )
    return [name for (name,) in rows]


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table that changes all the time, by the server's own estimates."""

    name: str
    live: int
    dead: int
    """Rows that nobody can see any more and that vacuum has not removed yet."""


def hot_tables(execute: Execute) -> list[Table]:
    """Return the tables whose dead rows matter."""
    rows = execute(
        """
        SELECT relname, n_live_tup, n_dead_tup FROM pg_stat_user_tables
        WHERE relid = ANY(ARRAY(SELECT to_regclass(t) FROM unnest(%(tables)s::text[]) AS t))
        ORDER BY relname
        """,
        {"tables": list(HOT_TABLES)},
    )
    return [Table(name=name, live=live, dead=dead) for name, live, dead in rows]


@dataclass(frozen=True, kw_only=True, slots=True)
class Late:
    """How long what a beat should have done has been waiting, in seconds; None where nothing does."""

    fire: float | None
    """The schedule that is due the longest."""
    promote: float | None
    """The run whose time has come the longest ago and that is not in its queue."""
    reap: float | None
    """The lease that ended the longest ago."""
    expired: int
    """How many leases of running runs have ended."""


def late(execute: Execute) -> Late:
    """Return what no beat has done yet."""
    [row] = execute(
        """
        SELECT
            (SELECT extract(epoch FROM clock_timestamp() - min(next_fire_at)) FROM jobs_schedule
             WHERE next_fire_at <= clock_timestamp() AND NOT switched_off AND NOT paused),
            (SELECT extract(epoch FROM clock_timestamp() - min(run_at)) FROM jobs_run
             WHERE state = 'scheduled' AND run_at <= clock_timestamp()),
            extract(epoch FROM clock_timestamp() - min(lease_until)), count(*)
        FROM jobs_run WHERE state = 'running' AND lease_until < clock_timestamp()
        """,
        {},
    )
    fire, promote, reap = (None if value is None else float(value) for value in row[:3])
    return Late(fire=fire, promote=promote, reap=reap, expired=row[3])


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueUse:
    """Who names a queue."""

    name: str
    jobs: int
    waiting: int
    """Queued runs that a worker may take."""
    longest_wait_seconds: float | None


def queue_use(execute: Execute, queues: Sequence[str]) -> list[QueueUse]:
    """Return `queues` and all others that a job, or a run that has not ended, names."""
    rows = execute(
        """
        WITH waits AS (
            SELECT queue, count(*) FILTER (WHERE state = 'queued' AND held = 0) AS waiting,
                min(run_at) FILTER (WHERE state = 'queued' AND held = 0) AS since
            FROM jobs_run WHERE state IN ('queued', 'scheduled') GROUP BY queue
        ), named AS (
            SELECT queue, count(*) AS jobs FROM jobs_job WHERE archived_at IS NULL GROUP BY queue
        )
        SELECT name, coalesce(n.jobs, 0), coalesce(w.waiting, 0), extract(epoch FROM clock_timestamp() - w.since)
        FROM (
            SELECT unnest(%(queues)s::text[]) AS name UNION SELECT queue FROM waits UNION SELECT queue FROM named) AS q
        LEFT JOIN waits w ON w.queue = q.name LEFT JOIN named n ON n.queue = q.name
        ORDER BY name
        """,
        {"queues": list(queues)},
    )
    return [
        QueueUse(name=name, jobs=jobs, waiting=waiting, longest_wait_seconds=None if since is None else float(since))
        for name, jobs, waiting, since in rows
    ]
