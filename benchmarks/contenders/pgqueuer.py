"""(d) pgqueuer: PostgreSQL is the queue; batches, async."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from typing import ClassVar

import psycopg
from pgqueuer.db import SyncPsycopgDriver
from pgqueuer.queries import SyncQueries

from benchmarks.contenders.base import DATABASE_VARIABLE, WORKER_PROCESSES, WithDatabase, python, run
from benchmarks.noop import UNNUMBERED
from benchmarks.processes import Command

_DRIVER = "asyncpg" if importlib.util.find_spec("asyncpg") else "psycopg"
_BATCH = 1_000


class Pgqueuer(WithDatabase):
    """A finished job's row is deleted, and its log keeps one line a change; batches of ten are its default."""

    key = "pgqueuer"
    title = "pgqueuer"
    settings = f"durable, {_DRIVER}, uvloop, async, its autovacuum settings, batches of 10; log lines per job"
    backlog = 15_000
    database = "jobsched_bench_pgqueuer"
    _batch_size: ClassVar[int] = 10
    _marked = 0

    def prepare(self) -> None:
        url = self.make_database()
        for verb in ("install", "autovac"):
            run(python("pgqueuer", "--pg-dsn", url, verb), {})
        self._producer = psycopg.connect(url, autocommit=True)
        self._queries = SyncQueries(SyncPsycopgDriver(self._producer))

    def commands(self) -> Sequence[Command]:
        worker = python("benchmarks.peers.pgqueuer_app", str(self._batch_size))
        return [Command(argv=worker, env={DATABASE_VARIABLE: self.url})] * WORKER_PROCESSES

    def _payload(self, number: int) -> bytes:
        return json.dumps([str(self.place.notes), number]).encode()

    def enqueue(self, jobs: int) -> None:
        payload = self._payload(UNNUMBERED)
        for start in range(0, jobs, _BATCH):
            size = min(_BATCH, jobs - start)
            self._queries.enqueue(["noop"] * size, [payload] * size, [0] * size)

    def enqueue_one(self, number: int) -> None:
        self._queries.enqueue("noop", self._payload(number))

    def unfinished(self) -> int:
        return self.ask("SELECT count(*) FROM pgqueuer")

    def mark(self) -> None:
        self._marked = self.ask("SELECT max(id) FROM pgqueuer_log")

    def check(self, jobs: int) -> None:
        self.expect(
            jobs,
            "log lines of success",
            "SELECT count(*) FROM pgqueuer_log WHERE id > %s AND status = 'successful'",
            self._marked,
        )

    def clean(self) -> None:
        self._producer.close()
        super().clean()


class PgqueuerLargeBatches(Pgqueuer):
    """As its page on performance advises for short jobs: larger batches."""

    key = "pgqueuer-100"
    title = "pgqueuer, batches of 100"
    settings = f"durable, {_DRIVER}, uvloop, async, its autovacuum settings, batches of 100; log lines per job"
    database = "jobsched_bench_pgqueuer_100"
    backlog = 40_000
    _batch_size = 100
