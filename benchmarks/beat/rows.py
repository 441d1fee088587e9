"""The schedules of one size, in a database of their own, and ways to make chosen ones due."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from benchmarks.beat.prototype import JOB, QUEUE

TASK = "benchmarks.beat.nothing"
_FAR_HOURS = range(5, 20)
"""Hours from now at which crontabs fire: none comes or has just been while the benchmark runs."""
_INTERVAL_HOURS = range(6, 25)
_CHOSEN = 60_000
"""Only the first so many are ever made due."""
_PACE_INTERVAL_ID, _STEADY_INTERVAL_ID = 1000, 1001
_PACE_SECONDS = 12 * 3600.0

_SCHEDULES = """
INSERT INTO django_celery_beat_intervalschedule (id, every, period)
SELECT 1 + n, %(first_interval)s + n, 'hours' FROM generate_series(0, %(intervals)s - 1) n;
"""

# A third are plain hours, which stock beat leaves out while they are far; the others are lists and ranges.
_CRONTABS = """
INSERT INTO django_celery_beat_crontabschedule (id, minute, hour, day_of_month, month_of_year, day_of_week, timezone)
SELECT 1 + n, (n %% 60)::text,
    CASE n %% 3 WHEN 0 THEN a::text WHEN 1 THEN a || ',' || b ELSE least(a, b) || '-' || least(a, b) END,
    '*', '*', '*', 'UTC'
FROM generate_series(0, 899) n
CROSS JOIN LATERAL (SELECT
    (extract(hour FROM now() AT TIME ZONE 'UTC')::int + %(first_hour)s + n %% %(hours)s) %% 24 AS a,
    (extract(hour FROM now() AT TIME ZONE 'UTC')::int + %(first_hour)s + (n / 7) %% %(hours)s) %% 24 AS b) h
"""

_TASKS = """
INSERT INTO django_celery_beat_periodictask (
    id, name, task, args, kwargs, queue, headers, description, enabled, one_off, total_run_count, date_changed,
    interval_id, crontab_id)
SELECT n, 'schedule ' || n, %(task)s, '[' || n || ']', '{{}}', %(queue)s, '{{}}', '', true, false, 0, now(),
    CASE WHEN n %% 2 = 1 THEN 1 + n %% %(intervals)s END, CASE WHEN n %% 2 = 0 THEN 1 + n %% 900 END
FROM generate_series(1, %(size)s) n
"""

_DEFINITIONS = """
INSERT INTO jobs_definition (id, job_id, version, content)
SELECT j.definition_id, j.id, 1, d.content
FROM jobs_job j, (SELECT content FROM jobs_definition LIMIT 1) d WHERE j.name LIKE 'job %%'
"""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The schedules, numbered from 1. `connection` commits each statement."""

    connection: psycopg.Connection[Any]
    size: int

    @property
    def last_chosen(self) -> int:
        """The highest number of a schedule that may be made due."""
        return min(self.size, _CHOSEN)

    def fill(self) -> None:
        """Insert as many schedules as `size` and a job for each, copies of the prototype. Their triggers run."""
        values = {
            "task": TASK,
            "queue": f"{QUEUE}-plain",
            "size": self.size,
            "first_interval": _INTERVAL_HOURS[0],
            "intervals": len(_INTERVAL_HOURS),
            "first_hour": _FAR_HOURS[0],
            "hours": len(_FAR_HOURS),
        }
        with self.connection.transaction():
            self._run(_SCHEDULES, values)
            self._run(_CRONTABS, values)
            self._run(
                "INSERT INTO django_celery_beat_intervalschedule (id, every, period) VALUES (%(id)s, 12, 'hours')",
                {"id": _PACE_INTERVAL_ID},
            )
            self._run(_TASKS.format(), values)
            self._copy_jobs()
            self._run("UPDATE jobs_schedule SET job_id = %(base)s + periodic_task_id", {"base": self._job_base()})
            self._run("SELECT setval('django_celery_beat_periodictask_id_seq', %(size)s)", values)
        self.tidy()

    def _job_base(self) -> int:
        return int(self._ask("SELECT min(id) FROM jobs_job WHERE name <> %(name)s", {"name": JOB})) - 1

    def _copy_jobs(self) -> None:
        """One statement for all: the trigger that keeps definitions would take a minute for a million jobs."""
        columns = [
            sql.Identifier(name)
            for (name,) in self.connection.execute(
                "SELECT column_name FROM information_schema.columns WHERE table_name = 'jobs_job' "
                "AND table_schema = current_schema() AND is_generated = 'NEVER' "
                "AND column_name NOT IN ('id', 'name', 'definition_id')"
            )
        ]
        copy = sql.SQL(
            "INSERT INTO jobs_job (id, name, definition_id, {columns}) "
            "SELECT p.id + n, 'job ' || n, p.definition_id + n, {values} "
            "FROM jobs_job p, generate_series(1, %(size)s) n WHERE p.name = %(name)s"
        ).format(
            columns=sql.SQL(", ").join(columns),
            values=sql.SQL(", ").join(sql.SQL("p.{}").format(column) for column in columns),
        )
        self.connection.execute("ALTER TABLE jobs_job DISABLE TRIGGER USER")
        self.connection.execute(copy, {"size": self.size, "name": JOB})
        self._run(_DEFINITIONS, {})
        # What refers to a row that follows later in the transaction is checked now, before the table is altered.
        self.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        self.connection.execute("ALTER TABLE jobs_job ENABLE TRIGGER USER")

    def tidy(self) -> None:
        """Bring statistics and visibility up to date before a measurement."""
        self.connection.execute("VACUUM (ANALYZE)")
        self.connection.execute("CHECKPOINT")

    def with_jobs(self, *, jobs: bool) -> None:
        """Let the schedules that are ever due stand for jobs, or for the plain Celery tasks that they name."""
        self._run(
            "UPDATE jobs_schedule SET job_id = CASE WHEN %(jobs)s THEN %(base)s + periodic_task_id END "
            "WHERE periodic_task_id <= %(last)s AND (job_id IS NOT NULL) <> %(jobs)s",
            {"jobs": jobs, "base": self._job_base(), "last": self.last_chosen},
        )

    def forget_runs(self) -> None:
        """Remove the runs made so far: no worker takes them, and what follows should not pay for them."""
        self.connection.execute("TRUNCATE jobs_run, jobs_transition CASCADE")

    def rest(self) -> None:
        """Let nothing be due for stock beat because an earlier contender was measured."""
        self._run("UPDATE django_celery_beat_periodictask SET last_run_at = now() WHERE last_run_at IS NOT NULL", {})

    def now(self) -> float:
        """Return the database's clock in seconds since the epoch."""
        return float(self._ask("SELECT extract(epoch FROM clock_timestamp())", {}))

    def make_due(self, ids: Sequence[int], *, at: float, ours: bool = True) -> None:
        """Edit schedules, as an admin would, to an interval of twelve hours that has an instant at `at`.

        Stock beat fires at the start itself, as long as the last run is long ago, and cannot be told an instant
        otherwise. For ours the start lies one interval before.
        """
        with self.connection.transaction():
            self._run(
                "UPDATE django_celery_beat_periodictask SET interval_id = %(interval)s, crontab_id = NULL, "
                "start_time = to_timestamp(%(start)s), last_run_at = now() - %(days)s * interval '1 day' "
                "WHERE id = ANY(%(ids)s)",
                {
                    "interval": _PACE_INTERVAL_ID,
                    "start": at - _PACE_SECONDS if ours else at,
                    "days": 0 if ours else 2,
                    "ids": list(ids),
                },
            )
            self.tell_stock_beat()

    def make_steady(self, ids: Sequence[int], *, period: float, start: float) -> None:
        """Edit schedules so that each fires every `period` seconds, evenly spread, from the moment `start` on."""
        with self.connection.transaction():
            # No task names this row while it changes, so that the edit is one of tasks, each with its own start.
            self._run(
                "INSERT INTO django_celery_beat_intervalschedule (id, every, period) "
                "VALUES (%(id)s, %(every)s, 'microseconds') ON CONFLICT (id) DO NOTHING",
                {"id": _STEADY_INTERVAL_ID, "every": round(period * 1e6)},
            )
            self._run(
                "UPDATE django_celery_beat_periodictask SET interval_id = %(id)s, crontab_id = NULL, "
                "start_time = to_timestamp(%(start)s + %(period)s * (id - %(first)s) / %(count)s), "
                "last_run_at = now() - interval '2 days' WHERE id = ANY(%(ids)s)",
                {
                    "id": _STEADY_INTERVAL_ID,
                    "start": start,
                    "period": period,
                    "first": min(ids),
                    "count": len(ids),
                    "ids": list(ids),
                },
            )
            self.tell_stock_beat()

    def make_overdue(self, ids: Sequence[int]) -> float:
        """Make schedules due at this moment, all at once and by one instant each. Return the moment."""
        at = self.now()
        self._run(
            "UPDATE jobs_schedule SET next_fire_at = to_timestamp(%(at)s), stale = false, "
            "cursor = to_timestamp(%(at)s) - interval '1 microsecond' WHERE periodic_task_id = ANY(%(ids)s)",
            {"at": at, "ids": list(ids)},
        )
        return at

    def calm(self, ids: Sequence[int]) -> None:
        """Edit schedules so that none of them is due today."""
        self.make_due(ids, at=self.now() + _PACE_SECONDS)

    def tell_stock_beat(self) -> None:
        """Say that rows have changed, as saving by the ORM does. Ours sees the rows themselves."""
        self.connection.execute(
            "INSERT INTO django_celery_beat_periodictasks (ident, last_update) VALUES (1, clock_timestamp()) "
            "ON CONFLICT (ident) DO UPDATE SET last_update = clock_timestamp()"
        )

    def all_taken_in(self) -> bool:
        """Tell whether our beats have worked out when each edited schedule fires next."""
        return not self._ask("SELECT EXISTS (SELECT FROM jobs_schedule WHERE stale)", {})

    def taken_in_within(self, seconds: float) -> bool:
        """Wait until all are taken in, and tell whether they were in time."""
        deadline = time.monotonic() + seconds
        while True:
            asked = time.monotonic()
            if self.all_taken_in():
                return True
            if time.monotonic() > deadline:
                return False
            # Where the answer takes long, asking must not be what PostgreSQL is busy with.
            time.sleep(max(0.1, 9 * (time.monotonic() - asked)))

    def sessions(self) -> int:
        """Return how many others are connected to this database."""
        return int(
            self._ask(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                "AND backend_type = 'client backend' AND pid <> pg_backend_pid()",
                {},
            )
        )

    def _run(self, query: str, values: dict[str, Any]) -> None:
        self.connection.execute(query, values)

    def _ask(self, query: str, values: dict[str, Any]) -> Any:
        row = self.connection.execute(query, values).fetchone()
        return row[0] if row else None
