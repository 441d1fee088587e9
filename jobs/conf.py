"""The project's settings, read once and checked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from jobsched.allowed_modules import is_forbidden

DEFAULT_OUTPUT_LIMIT: Final = 64 * 1024 * 1024
LEAST_OUTPUT_LIMIT: Final = 64 * 1024
SHORTEST_LEASE = timedelta(seconds=3)
HEARTBEATS_A_LEASE: Final = 6
"""So many renewals of a lease are sent while it lasts, unless the project says otherwise."""
RECONNECT = timedelta(seconds=2)
"""The time in which a worker is connected to PostgreSQL again once it can be reached: it tries every second."""

WORK_TASK: Final = "jobs.work"
"""The one Celery task of ours: it carries hints."""

STATE_COMMAND: Final = "jobs_state"
"""The question to Celery workers what is protected from their runs, and whether they can reach the database."""

WORKER_SESSION_SUFFIX: Final = " worker"
"""Ends the `application_name` of every database connection of a worker, its slots and its runs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Conf:
    """`settings.JOBSCHED` with types. All of it has defaults; see `config/settings.py` for the meaning."""

    queues: tuple[str, ...]
    lease: timedelta
    heartbeat: timedelta
    stop_grace: timedelta
    idle_connection: timedelta
    """After so long without work a slot closes its connections to the database; 0: never."""
    data_dir: Path
    """Nothing in it but the workspaces is for runs."""
    workspace_dir: Path
    task_events: bool
    prepared_statements: bool
    output_limit: int
    """Bytes of output that are kept of one attempt; of longer output, the beginning and the end are."""
    beat_health_file: Path | None
    worker_health_file: Path | None
    proxies: int
    callable_modules: tuple[str, ...] | None
    """Modules whose functions jobs may call; None: see `jobs/callable_modules.py`."""
    kept_variables: frozenset[str]
    """Environment variables that Python and Celery runs keep although they look like settings of the installation."""

    @property
    def margin(self) -> timedelta:
        """How long before the end of its lease work is killed: the kill takes time, and so does the renewal's way."""
        return max(timedelta(seconds=1), self.lease / 10)

    @property
    def outage(self) -> timedelta:
        """How long PostgreSQL may be out of a worker's reach, at the worst moment, without the loss of an attempt.

        The worst moment is just before a renewal: the one before it was sent a heartbeat ago.
        """
        return max(timedelta(0), self.lease - self.margin - self.heartbeat - RECONNECT)


@cache
def conf() -> Conf:
    """Return the settings; raise ImproperlyConfigured with one sentence when they contradict each other."""
    given = getattr(settings, "JOBSCHED", {})
    if not settings.USE_TZ:
        raise ImproperlyConfigured("jobs needs USE_TZ = True: a schedule's instants are moments, not clock readings.")
    engine = settings.DATABASES.get("default", {}).get("ENGINE", "")
    if "postgres" not in engine and "postgis" not in engine:
        raise ImproperlyConfigured(f"jobs needs PostgreSQL as the database 'default', not {engine or 'none'}.")
    lease_seconds = given.get("LEASE_SECONDS", 30.0)
    data_dir = Path(given.get("DATA_DIR") or Path(getattr(settings, "BASE_DIR", ".")) / ".jobsched").absolute()
    result = Conf(
        queues=tuple(given.get("QUEUES", ("default",))),
        lease=timedelta(seconds=lease_seconds),
        heartbeat=timedelta(seconds=given.get("HEARTBEAT_SECONDS", lease_seconds / HEARTBEATS_A_LEASE)),
        stop_grace=timedelta(seconds=given.get("STOP_GRACE_SECONDS", 15.0)),
        idle_connection=timedelta(seconds=given.get("IDLE_CONNECTION_SECONDS", 20.0)),
        data_dir=data_dir,
        workspace_dir=Path(given.get("WORKSPACE_DIR") or data_dir / "workspaces").absolute(),
        task_events=given.get("TASK_EVENTS", True),
        prepared_statements=given.get("PREPARED_STATEMENTS", True),
        output_limit=given.get("OUTPUT_LIMIT_BYTES", DEFAULT_OUTPUT_LIMIT),
        beat_health_file=Path(given["BEAT_HEALTH_FILE"]) if given.get("BEAT_HEALTH_FILE") else None,
        worker_health_file=Path(given["WORKER_HEALTH_FILE"]) if given.get("WORKER_HEALTH_FILE") else None,
        proxies=given.get("PROXIES", 0),
        callable_modules=None if given.get("CALLABLE_MODULES") is None else tuple(given["CALLABLE_MODULES"]),
        kept_variables=frozenset(given.get("KEPT_VARIABLES", ())),
    )
    if not result.queues:
        raise ImproperlyConfigured("JOBSCHED['QUEUES'] is empty; name at least one queue, e.g. 'default'.")
    for module in filter(is_forbidden, result.callable_modules or ()):
        raise ImproperlyConfigured(
            f"JOBSCHED['CALLABLE_MODULES'] names {module!r}: functions of the standard library, Django, Celery and "
            "jobsched cannot be allowed; name a module of your own that calls them."
        )
    if result.lease < SHORTEST_LEASE:
        raise ImproperlyConfigured(
            f"JOBSCHED['LEASE_SECONDS'] must be at least {SHORTEST_LEASE.total_seconds():g}: a worker ends its work a "
            "second or more before its lease ends, and would have no time for a heartbeat."
        )
    if result.output_limit < LEAST_OUTPUT_LIMIT:
        raise ImproperlyConfigured(
            f"JOBSCHED['OUTPUT_LIMIT_BYTES'] must be at least {LEAST_OUTPUT_LIMIT}: so much output of an attempt is "
            "kept in the database in any case."
        )
    if result.stop_grace < timedelta(0):
        raise ImproperlyConfigured("JOBSCHED['STOP_GRACE_SECONDS'] must be 0 or more.")
    if result.idle_connection < timedelta(0):
        raise ImproperlyConfigured("JOBSCHED['IDLE_CONNECTION_SECONDS'] must be 0 or more.")
    if result.proxies < 0:
        raise ImproperlyConfigured("JOBSCHED['PROXIES'] must be 0 or more: the number of proxies before this process.")
    if result.heartbeat <= timedelta(0):
        raise ImproperlyConfigured("JOBSCHED['HEARTBEAT_SECONDS'] must be more than 0.")
    if result.heartbeat * 2 > result.lease:
        raise ImproperlyConfigured(
            "JOBSCHED['HEARTBEAT_SECONDS'] must be at most half of JOBSCHED['LEASE_SECONDS'], "
            "or one late heartbeat would lose every run."
        )
    return result
