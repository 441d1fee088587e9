"""Ours: through the public verbs, PostgreSQL for the record, RabbitMQ for hints, Celery's pool for the slots."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Sequence
from typing import Any, ClassVar

from benchmarks.contenders.base import WORKER_PROCESSES, WithDatabase, python, run
from benchmarks.errors import BenchmarkError
from benchmarks.processes import Command

_QUEUE = "jobsched-bench"
_MANIFEST = """
jobs:
  - name: noop
    queue: {queue}
    call: {call}
    params: {{path: "{notes}"}}
"""


class Ours(WithDatabase):
    """A job with two or three lines of YAML, requested by `control.trigger`; beat runs beside the worker."""

    short: ClassVar[str]
    """What its column of ratios is called."""
    _call: ClassVar[str]
    _task_events: ClassVar[bool] = False
    _marked = 0

    def prepare(self) -> None:
        self.make_database()
        self.place.servers.delete_queue(_QUEUE)
        run([sys.executable, "manage.py", "migrate", "--no-input", "-v0"], self._env())
        self._verbs = _verbs(self._env())
        self._connect()
        manifest = _MANIFEST.format(queue=_QUEUE, call=self._call, notes=self.place.notes)
        self._verbs.definitions.apply(manifest, filename="noop.yaml", actor="benchmark")

    def _env(self) -> dict[str, str]:
        return {
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "JOBSCHED_DATABASE_URL": self.url,
            "JOBSCHED_BROKER_URL": self.place.servers.broker_url,
            "JOBSCHED_SECRET_KEY": os.environ.get("JOBSCHED_SECRET_KEY") or secrets.token_urlsafe(48),
            "JOBSCHED_DATA_DIR": str(self.place.data / self.key),
            "JOBSCHED_QUEUES": _QUEUE,
            # Loaded at the start of a worker, as the tasks of Celery's workers are.
            "JOBSCHED_IMPORTS": "benchmarks.callables",
            "JOBSCHED_TASK_EVENTS": "true" if self._task_events else "false",
            "JOBSCHED_LOG_LEVEL": "WARNING",
        }

    def _connect(self) -> None:
        """Make our connection of this process, which all of ours share in turns, lead to this database."""
        self._verbs.use_database(self.url)

    def commands(self) -> Sequence[Command]:
        worker = python("celery", "-A", "config", "worker", "-Q", _QUEUE, "-c", str(WORKER_PROCESSES))
        beat = python("celery", "-A", "config", "beat", "-s", str(self.place.data / f"{self.key}.beat"))
        return [Command(argv=worker, env=self._env(), dropped=False), Command(argv=beat, env=self._env())]

    def enqueue(self, jobs: int) -> None:
        self._connect()
        self._verbs.control.trigger_many(job="noop", count=jobs, actor="benchmark")

    def enqueue_one(self, number: int) -> None:
        self._connect()
        self._verbs.control.trigger(job="noop", params={"number": number}, actor="benchmark")

    def unfinished(self) -> int:
        return self.ask("SELECT count(*) FROM jobs_run WHERE state IN ('scheduled', 'queued', 'running')")

    def mark(self) -> None:
        self._marked = self.ask("SELECT max(id) FROM jobs_run")

    def check(self, jobs: int) -> None:
        since = self._marked
        self.expect(
            jobs,
            "runs that succeeded at the first attempt",
            "SELECT count(*) FROM jobs_run WHERE id > %s AND state = 'succeeded' AND attempt = 1",
            since,
        )
        self.expect(
            jobs,
            "attempts",
            "SELECT count(*) FROM jobs_attempt WHERE run_id > %s AND verdict = 'succeeded' AND number = 1",
            since,
        )
        for before, after in ((None, "queued"), ("queued", "running"), ("running", "succeeded")):
            self.expect(
                jobs,
                f"transitions from {before} to {after}",
                "SELECT count(DISTINCT run_id) FROM jobs_transition "
                "WHERE run_id > %s AND before IS NOT DISTINCT FROM %s AND after = %s",
                since,
                before,
                after,
            )
        self.expect(3 * jobs, "transitions", "SELECT count(*) FROM jobs_transition WHERE run_id > %s", since)

    def clean(self) -> None:
        if hasattr(self, "_verbs"):
            self._verbs.close()
        self.place.servers.delete_queue(_QUEUE)
        super().clean()


class OursInProcess(Ours):
    key = "ours"
    title = "jobsched, in process"
    short = "in process"
    settings = "trusted callable, no task events; one run row, one attempt and three transitions per job"
    backlog = 40_000
    database = "jobsched_bench_ours"
    _call = "benchmarks.callables:trusted"


class OursIsolated(Ours):
    key = "ours-process"
    title = "jobsched, process per run"
    short = "process per run"
    settings = "no task events; killed with its tree at a limit, output kept; records as above"
    backlog = 2_500
    database = "jobsched_bench_ours_process"
    processes_tell_apart = False
    _call = "benchmarks.callables:isolated"


class OursIsolatedWithEvents(OursIsolated):
    """Somebody listens, as Flower would: two messages a run reach a queue, or the figure does not count.

    The first holds the events "received" and "started", the second how the run ended.
    """

    key = "ours-process-events"
    title = "jobsched, process per run, events"
    short = "process per run, events"
    settings = "as above, and three task events per run in two messages, routed to a queue"
    database = "jobsched_bench_ours_process_events"
    _task_events = True
    _heard: ClassVar[str] = "jobsched-bench-events"

    def prepare(self) -> None:
        super().prepare()
        self.place.servers.listen_to_task_events(self._heard)

    def mark(self) -> None:
        super().mark()
        self.place.servers.purge_queue(self._heard)

    def check(self, jobs: int) -> None:
        super().check(jobs)
        heard = self.place.servers.wait_for_messages(self._heard, 2 * jobs)
        if heard != 2 * jobs:
            raise BenchmarkError(f"{self.title}: {2 * jobs} messages of events were expected, and there were {heard}.")

    def clean(self) -> None:
        self.place.servers.delete_queue(self._heard)
        super().clean()


class _Verbs:
    """Our services, usable once Django has been set up: which needs the environment first, hence not at import."""

    def __init__(self) -> None:
        from django.db import connection

        from jobs.services import control, definitions

        self.control, self.definitions, self._connection = control, definitions, connection
        self._url: str | None = None

    def use_database(self, url: str) -> None:
        """Point Django's connection of this process at another database, and keep it open."""
        if url != self._url:
            self._connection.close()
            self._connection.settings_dict["NAME"] = url.rpartition("/")[2]
            self._url = url

    def close(self) -> None:
        self._connection.close()
        self._url = None


_loaded: _Verbs | None = None


def _verbs(env: dict[str, str]) -> Any:
    global _loaded
    if _loaded is None:
        import django

        os.environ.update(env)
        django.setup()
        _loaded = _Verbs()
    return _loaded
