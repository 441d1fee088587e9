"""(c) Procrastinate: PostgreSQL is the queue and the record."""

from __future__ import annotations

from collections.abc import Sequence

from procrastinate import App, SyncPsycopgConnector
from procrastinate.types import JSONDict

from benchmarks.contenders.base import DATABASE_VARIABLE, WORKER_PROCESSES, WithDatabase, python, run
from benchmarks.noop import UNNUMBERED
from benchmarks.processes import Command

_APP = "benchmarks.peers.procrastinate_app.app"
_BATCH = 1_000


class Procrastinate(WithDatabase):
    """Every job is a row that stays, with one event a change; each is fetched and finished on its own."""

    key = "procrastinate"
    title = "Procrastinate"
    settings = "async task, pooled connections, concurrency 10 a process; one job row and three events per job"
    backlog = 3_000
    database = "jobsched_bench_procrastinate"
    _marked = 0

    def prepare(self) -> None:
        url = self.make_database()
        run(python("procrastinate", "--app", _APP, "schema", "--apply"), {DATABASE_VARIABLE: url})
        self._app = App(connector=SyncPsycopgConnector(conninfo=url))
        self._app.open()
        self._task = self._app.configure_task("noop", queue="bench", allow_unknown=True)

    def commands(self) -> Sequence[Command]:
        worker = python(
            "procrastinate", "--log-level", "warning", "--app", _APP, "worker", "-q", "bench", "--concurrency", "10"
        )
        return [Command(argv=worker, env={DATABASE_VARIABLE: self.url})] * WORKER_PROCESSES

    def enqueue(self, jobs: int) -> None:
        arguments: JSONDict = {"path": str(self.place.notes), "number": UNNUMBERED}
        for start in range(0, jobs, _BATCH):
            self._task.batch_defer(*[arguments] * min(_BATCH, jobs - start))

    def enqueue_one(self, number: int) -> None:
        self._task.defer(path=str(self.place.notes), number=number)

    def unfinished(self) -> int:
        return self.ask("SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')")

    def mark(self) -> None:
        self._marked = self.ask("SELECT max(id) FROM procrastinate_jobs")

    def check(self, jobs: int) -> None:
        self.expect(
            jobs,
            "succeeded jobs",
            "SELECT count(*) FROM procrastinate_jobs WHERE id > %s AND status = 'succeeded' AND attempts = 1",
            self._marked,
        )
        self.expect(
            3 * jobs,
            "events",
            "SELECT count(*) FROM procrastinate_events WHERE job_id > %s "
            "AND type IN ('deferred', 'started', 'succeeded')",
            self._marked,
        )

    def clean(self) -> None:
        self._app.close()
        super().clean()
