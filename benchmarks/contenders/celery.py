"""(a) Celery as most people run it, results ignored. (b) The same with django-celery-results."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from celery import Celery

from benchmarks.contenders.base import (
    BROKER_VARIABLE,
    DATABASE_VARIABLE,
    WORKER_PROCESSES,
    Contender,
    WithDatabase,
    python,
    run,
)
from benchmarks.noop import UNNUMBERED
from benchmarks.processes import Command


class _CeleryProducer:
    """Sends the peer's task by name over one connection that stays open."""

    def __init__(self, broker_url: str, queue: str, notes: str) -> None:
        app = Celery(broker=broker_url, set_as_current=False)
        app.conf.task_ignore_result = True
        self._producer = app.amqp.producer_pool.acquire(block=True)
        self._send = partial(app.send_task, "noop", queue=queue, producer=self._producer, add_to_parent=False)
        self._notes = notes

    def send(self, number: int) -> None:
        self._send(args=[self._notes, number])

    def close(self) -> None:
        self._producer.release()


def _worker(app: str, queue: str, env: dict[str, str]) -> list[Command]:
    worker = python("celery", "-A", app, "worker", "-Q", queue, "-c", str(WORKER_PROCESSES), "-n", f"{queue}@%h")
    return [Command(argv=worker, env=env)]


class CeleryIgnoringResults(Contender):
    """What it does is not recorded anywhere: a task that was taken by a worker that dies is lost."""

    key = "celery"
    title = "Celery, results ignored"
    settings = "early ack, persistent messages, no publisher confirms; records nothing"
    backlog = 12_000
    _queue: ClassVar[str] = "jobsched-bench-celery"

    def prepare(self) -> None:
        self.place.servers.delete_queue(self._queue)
        self._producer = _CeleryProducer(self.place.servers.broker_url, self._queue, str(self.place.notes))

    def commands(self) -> Sequence[Command]:
        env = {BROKER_VARIABLE: self.place.servers.broker_url}
        return _worker("benchmarks.peers.celery_plain", self._queue, env)

    def enqueue(self, jobs: int) -> None:
        for _ in range(jobs):
            self._producer.send(UNNUMBERED)

    def enqueue_one(self, number: int) -> None:
        self._producer.send(number)

    def unfinished(self) -> int:
        return 0

    def mark(self) -> None:
        """Nothing is recorded."""

    def check(self, jobs: int) -> None:
        """Nothing is recorded; that every job ran exactly once is known from the notes."""

    def clean(self) -> None:
        self._producer.close()
        self.place.servers.delete_queue(self._queue)


class CeleryWithResults(WithDatabase):
    """Celery's Django integration closes the database connection around every task."""

    key = "celery-results"
    title = "Celery, in-database results"
    settings = "django-celery-results as it comes: a database connection per task; one result row per task"
    backlog = 1_500
    database = "jobsched_bench_celery_results"
    _queue: ClassVar[str] = "jobsched-bench-celery-results"
    _keeps_connections: ClassVar[bool] = False
    _enqueued = 0
    _marked = 0

    def prepare(self) -> None:
        self.make_database()
        self.place.servers.delete_queue(self._queue)
        run(python("django", "migrate", "--no-input", "-v0"), self._env())
        self._producer = _CeleryProducer(self.place.servers.broker_url, self._queue, str(self.place.notes))

    def _env(self) -> dict[str, str]:
        return {
            "DJANGO_SETTINGS_MODULE": "benchmarks.peers.celery_results_settings",
            DATABASE_VARIABLE: self.url,
            BROKER_VARIABLE: self.place.servers.broker_url,
            "BENCH_KEEP_CONNECTIONS": "1" if self._keeps_connections else "",
        }

    def commands(self) -> Sequence[Command]:
        return _worker("benchmarks.peers.celery_results", self._queue, self._env())

    def enqueue(self, jobs: int) -> None:
        for _ in range(jobs):
            self.enqueue_one(UNNUMBERED)

    def enqueue_one(self, number: int) -> None:
        self._producer.send(number)
        self._enqueued += 1

    def unfinished(self) -> int:
        return self._enqueued - self.ask("SELECT count(*) FROM django_celery_results_taskresult")

    def mark(self) -> None:
        self._marked = self.ask("SELECT max(id) FROM django_celery_results_taskresult")

    def check(self, jobs: int) -> None:
        self.expect(
            jobs,
            "results",
            "SELECT count(*) FROM django_celery_results_taskresult WHERE id > %s AND status = 'SUCCESS'",
            self._marked,
        )

    def clean(self) -> None:
        self._producer.close()
        self.place.servers.delete_queue(self._queue)
        super().clean()


class CeleryWithResultsKept(CeleryWithResults):
    key = "celery-results-kept"
    title = "Celery, in-database results, kept connections"
    settings = "django-celery-results, CELERY_DB_REUSE_MAX set, so that connections stay open; one result row per task"
    backlog = 3_000
    database = "jobsched_bench_celery_results_kept"
    _queue = "jobsched-bench-celery-results-kept"
    _keeps_connections = True
