"""What an experiment works with: servers to break, processes to start and kill, jobs to submit, figures to report."""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import urlsplit

import psutil
import psycopg
from django.db import close_old_connections, connection, transaction
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from jobs import messages
from jobs.models import Job, Run, Schedule
from jobs.services import definitions
from jobs.store import births
from jobs.store.births import Birth
from jobs.store.session import django_connection
from jobsched.domain.manifest import parse_job
from jobsched.domain.states import ACTIVE
from jobsched.local.parts import Parts
from jobsched.local.ports import free_port
from jobsched.local.servers import DatabaseServer, Server
from tests.chaos.errors import Broken
from tests.chaos.ground import Ground
from tests.chaos.history import Expected, History, collect
from tests.chaos.journal import SCRIPT, Line, read
from tests.chaos.results import Result
from tests.chaos.sightings import Watcher, living
from tests.processes import Process

Entered = TypeVar("Entered")

_BIRTHS_AT_ONCE = 500
_PATIENCE_SECONDS = 60.0
"""How long the suite's own look at the database may wait for a server that is being killed and started again."""


class Stage:
    """One experiment's view. `random` is seeded; `scale` is 1.0 for the full suite, less for the short mix.

    Processes may be started from any thread: they end with the stage.
    """

    def __init__(self, ground: Ground, result: Result, *, database_url: str, say: Callable[[str], None]) -> None:
        self.ground = ground
        self.result = result
        self.scale = result.scale
        self.random = random.Random(f"{result.seed} {result.name}")
        self.lease, self.heartbeat = ground.lease_seconds, ground.heartbeat_seconds  # in seconds
        self.database_url = database_url
        self.broker_url = ground.rabbitmq.url
        self.folder = ground.folder / result.name
        self.folder.mkdir()
        self.journal_file = self.folder / "journal"
        self.watcher = Watcher()
        self.after_run = 0
        """Runs with numbers up to this one are scenery: the checker does not look at them."""
        self._say = say
        self._processes = ExitStack()
        # Processes end with the thread that started them, and these live as long as the stage.
        self._starters = ThreadPoolExecutor(8, thread_name_prefix="starter")
        self._numbers = itertools.count(1)
        self._expected: list[tuple[int, datetime, timedelta]] = []
        self._acknowledged: list[int] = []
        self._connection: psycopg.Connection[Any] | None = None

    @property
    def postgres(self) -> DatabaseServer:
        return self.ground.postgres

    @property
    def rabbitmq(self) -> Server:
        return self.ground.rabbitmq

    @property
    def is_full(self) -> bool:
        """Tell whether this is the full suite, and not a short mix."""
        return self.scale >= 1

    def scaled(self, number: float, least: float = 1) -> int:
        """Return a number for this scale, rounded: `scaled(5000)` is 250 on the scale 0.05."""
        return max(round(least), round(number * self.scale))

    # -- processes -------------------------------------------------------------------------------------------

    def start_worker(
        self,
        *,
        concurrency: int = 2,
        queues: Sequence[str] = ("default",),
        env: Mapping[str, str] | None = None,
        database_url: str | None = None,
        broker_url: str | None = None,
        before: Sequence[str] = (),
    ) -> Process:
        """Start a worker and return when it is ready. Another address puts a proxy between it and a server.

        `before` are words to put before its command.
        """
        name = f"worker-{next(self._numbers)}"
        parts = self._parts(env, database_url, broker_url)
        service = parts.worker(queues=queues, concurrency=concurrency, node=name, name=name)
        return self._started(Process(replace(service, argv=(*before, *service.argv))))

    def start_workers(self, count: int, *, concurrency: int = 2, env: Mapping[str, str] | None = None) -> list[Process]:
        """Start several workers at once and return when all are ready."""
        names = [f"worker-{next(self._numbers)}" for _ in range(count)]
        parts = self._parts(env, None, None)
        starting = [
            self._start(Process(parts.worker(queues=["default"], concurrency=concurrency, node=name, name=name)))
            for name in names
        ]
        return [worker.result() for worker in starting]

    def start_beat(
        self,
        *,
        env: Mapping[str, str] | None = None,
        database_url: str | None = None,
        broker_url: str | None = None,
    ) -> Process:
        """Start a beat and return when it is ready."""
        name = f"beat-{next(self._numbers)}"
        return self._started(
            Process(self._parts(env, database_url, broker_url).beat(schedule=self.folder / name, name=name))
        )

    def start_web(
        self,
        *,
        env: Mapping[str, str] | None = None,
        database_url: str | None = None,
        broker_url: str | None = None,
    ) -> Process:
        """Start the web process and return when it is ready; its address is `url`."""
        port = free_port()
        parts = self._parts(env, database_url, broker_url)
        return self._started(Process(parts.web(port), url=f"http://127.0.0.1:{port}"))

    def _parts(self, env: Mapping[str, str] | None, database_url: str | None, broker_url: str | None) -> Parts:
        given = {
            "JOBSCHED_DATABASE_URL": database_url or self.database_url,
            "JOBSCHED_BROKER_URL": broker_url or self.broker_url,
            "JOBSCHED_DATA_DIR": str(self.folder / "data"),
            "JOBSCHED_LOG_LEVEL": "INFO",
        }
        return Parts(env={**os.environ, **given, **(env or {})}, logs=self.folder)

    def _started(self, process: Process) -> Process:
        return self._start(process).result()

    def _start(self, process: Process) -> Future[Process]:
        return self._starters.submit(self._processes.enter_context, process)

    def keep(self, context: AbstractContextManager[Entered]) -> Entered:
        """Enter a context that lasts until the experiment has been judged."""
        return self._processes.enter_context(context)

    @staticmethod
    def slots(worker: Process) -> list[int]:
        """Return the process numbers of a worker's slots: the pool children of its main process."""
        with suppress(psutil.NoSuchProcess):
            main = psutil.Process(worker.pid)
            return [child.pid for child in main.children() if _is_slot(child, main)]
        return []

    def freeze(self, worker: Process) -> list[int]:
        """Stop a worker's main process and its slots, as a swap storm would. Return them for `thaw`."""
        frozen = [worker.pid, *self.slots(worker)]
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        return frozen

    @staticmethod
    def thaw(pids: Iterable[int]) -> None:
        """Let frozen processes go on, those that live yet."""
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def move_database(self, host: str, port: int) -> None:
        """Name a second server beside the one in use; whichever can be written to has the database from now on.

        For this process, and for those that are started later. The end of the experiment takes it back.
        """
        first = urlsplit(self.database_url)
        self.database_url = first._replace(
            netloc=f"{first.netloc},{host}:{port}", query="target_session_attrs=read-write"
        ).geturl()
        self._connection = None
        settings = connection.settings_dict
        before = {name: settings[name] for name in ("HOST", "PORT", "OPTIONS")}
        connection.close()
        settings.update(
            HOST=f"{first.hostname},{host}",
            PORT=f"{first.port},{port}",
            OPTIONS={**before["OPTIONS"], "target_session_attrs": "read-write"},
        )
        self._processes.callback(settings.update, before)
        self._processes.callback(connection.close)

    # -- jobs and runs ---------------------------------------------------------------------------------------

    def job(self, name: str = "Job", **keys: Any) -> str:
        """Save a job by the keys of the YAML format; without any it is the one that writes the journal.

        Its parameters include the journal's file.
        """
        close_old_connections()
        params = {"journal": str(self.journal_file), "seconds": 1.0, **keys.pop("params", {})}
        keys.setdefault("retries", {"max": 10, "backoff": "1s"})
        if not keys.keys() & {"run", "steps", "http", "call", "task"}:
            keys["run"] = SCRIPT
        return definitions.save(parse_job({"name": name, "params": params, **keys}), actor="chaos").name

    def submit(
        self, count: int, *, seconds: float | tuple[float, float] = 1.0, job: str = "Job", **params: Any
    ) -> list[int]:
        """Ask for runs of a job and return their numbers; between two `seconds` each gets its own at random.

        Once this returns they are acknowledged: the checker wants to find each of them. Raises what the database
        raises; then they are not.
        """
        close_old_connections()
        found = Job.objects.current().get(name=job)
        wanted = [
            Birth(
                job_id=found.pk,
                trigger=Run.Trigger.REQUEST,
                requested_by="chaos",
                params={**params, "seconds": self._seconds(seconds)},
            )
            for _ in range(count)
        ]
        made: list[int] = []
        for start in range(0, count, _BIRTHS_AT_ONCE):
            made += [born.id for born in births.create(django_connection, wanted[start : start + _BIRTHS_AT_ONCE])]
            self._acknowledged += made[start:]
        messages.hint({found.queue: count})
        return made

    def _seconds(self, seconds: float | tuple[float, float]) -> float:
        return round(self.random.uniform(*seconds), 2) if isinstance(seconds, tuple) else seconds

    def every(self, seconds: int, *, job: str, offset: float = 0.0) -> int:
        """Let a job fire every so many seconds from now on, and expect a run of each instant. Return the schedule.

        With an `offset`, a part of a second, its instants lie so much after the full seconds.
        """
        interval = IntervalSchedule.objects.get_or_create(every=seconds, period="seconds")[0]
        start = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1 + offset)
        with transaction.atomic():  # so that no beat sees it half made
            name = f"{job} every {seconds} s, {offset:g} s late"
            row = PeriodicTask.objects.create(name=name, task="chaos", interval=interval)
            Schedule.objects.filter(pk=row.pk).update(
                job=Job.objects.current().get(name=job), anchor=start, cursor=start, catch_up=Schedule.CatchUp.ALL
            )
        self._expected.append((row.pk, start, timedelta(seconds=seconds)))
        return row.pk

    def no_more_fires(self, *, settle_seconds: float = 3.0) -> None:
        """Wait until no instant is owed for longer than that, and switch all schedules off."""
        self.wait_for(
            lambda: (
                not self.query(
                    "SELECT 1 FROM jobs_schedule WHERE next_fire_at < clock_timestamp() - %s LIMIT 1",
                    (timedelta(seconds=settle_seconds),),
                )
            ),
            timeout=120,
            what="the firing of what was owed",
        )
        close_old_connections()
        with connection.cursor() as cursor:
            cursor.execute("UPDATE django_celery_beat_periodictask SET enabled = false")

    # -- looking ---------------------------------------------------------------------------------------------

    def query(self, statement: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
        """Read from the database; wait for a server that is away just now. Raises Broken when it stays away."""
        give_up = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                if self._connection is None:
                    self._connection = psycopg.connect(self.database_url, autocommit=True, connect_timeout=5)
                return self._connection.execute(statement, values or None).fetchall()  # type: ignore[call-overload]
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                self._connection = None
                if time.monotonic() > give_up:
                    raise Broken(f"the database did not come back within {_PATIENCE_SECONDS:g} s: {error}") from error
                time.sleep(0.2)

    def count(self, *states: str) -> int:
        """Return how many runs are in one of these states."""
        return int(
            self.query(
                "SELECT count(*) FROM jobs_run WHERE id > %s AND state = ANY(%s)", (self.after_run, list(states))
            )[0][0]
        )

    def leave_out_runs_so_far(self) -> None:
        """Let the checker look at none of the runs that exist now. They must have ended, without the journal."""
        [(self.after_run,)] = self.query("SELECT max(id) FROM jobs_run")
        self._acknowledged.clear()

    def journal(self) -> list[Line]:
        """Return what jobs have written so far."""
        return read(self.journal_file)

    def alive(self, run_id: int | None = None) -> dict[tuple[int, int], list[int]]:
        """Return the living processes of a run, or of all, by run and attempt."""
        return living(run_id)

    def wait_for(self, condition: Callable[[], Any], *, timeout: float, what: str, pause: float = 0.1) -> Any:
        """Wait until `condition` returns what counts as true, and return that. Raises Broken after `timeout` s."""
        deadline = time.monotonic() + timeout
        while not (found := condition()):
            if time.monotonic() > deadline:
                raise Broken(f"{what} did not come about within {timeout:g} s")
            time.sleep(pause)
        return found

    def wait_until_ended(self, timeout: float, *, busy: Callable[[], None] | None = None) -> None:
        """Wait until every run has ended, calling `busy` meanwhile. Raises Broken after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while self.count(*ACTIVE):
            if busy is not None:
                busy()
            if time.monotonic() > deadline:
                left = self.query(
                    "SELECT state, count(*) FROM jobs_run WHERE id > %s AND finished_at IS NULL GROUP BY 1 ORDER BY 1",
                    (self.after_run,),
                )
                words = ", ".join(f"{count} {state}" for state, count in left)
                raise Broken(f"I2: after {timeout:g} s not all runs have ended: {words}")
            time.sleep(0.2)

    # -- telling ---------------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Show progress on the terminal."""
        self._say(f"    {text}")

    def done(self, sentence: str) -> None:
        """Tell the report what was done."""
        self.result.done.append(sentence)
        self.say(sentence)

    def figure(self, name: str, value: float | str, unit: str = "") -> None:
        """Report a number."""
        self.result.note(name, value, unit)
        self.say(self.result.figures[-1].words())

    def limit(self, name: str, value: float, below: float, unit: str = "s") -> None:
        """Report a number that must be below a limit in the full suite; on a smaller scale it is only shown."""
        self.result.note(name, value, unit, below=below)
        self.say(self.result.figures[-1].words())

    def demand(self, holds: bool, sentence: str) -> None:
        """Count `sentence`, which says what is wrong, as a violation unless `holds`."""
        if not holds:
            self.result.violations.append(sentence)

    # -- the end ---------------------------------------------------------------------------------------------

    def history(self) -> History:
        """Put together what happened up to now."""
        cursors = dict(self.query("SELECT periodic_task_id, cursor FROM jobs_schedule"))
        return collect(
            self.query,
            journal=self.journal(),
            sightings=self.watcher.seen,
            expected=[
                Expected(schedule_id=id, start=start, every=every, cursor=cursors[id])
                for id, start, every in self._expected
            ],
            acknowledged=self._acknowledged,
            after_run=self.after_run,
        )

    def logs(self) -> dict[str, str]:
        """Return what the processes of the experiment wrote, by name."""
        return {log.stem: log.read_text(errors="replace") for log in sorted(self.folder.glob("*.log"))}

    def close(self) -> None:
        """End all processes of the experiment."""
        self._starters.shutdown(wait=False, cancel_futures=True)
        self.clear()

    def clear(self) -> None:
        """End the processes there are, and let go of the database; others may be started after that."""
        self._processes.close()
        if self._connection is not None:
            self._connection.close()
        connection.close()


def _is_slot(process: psutil.Process, main: psutil.Process) -> bool:
    """The launcher is a child of the main process, too; it alone stays root."""
    try:
        return (
            process.status() != psutil.STATUS_ZOMBIE
            and process.uids() == main.uids()
            and "celery" in " ".join(process.cmdline())
        )
    except psutil.NoSuchProcess:
        return False
