"""The PostgreSQL and the RabbitMQ that all contenders share, and a database of its own for each."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import cast
from urllib.parse import SplitResult, urlsplit, urlunsplit

import psutil
import psycopg
from kombu import Connection, Exchange, Queue
from psycopg import sql

from benchmarks.errors import BenchmarkError
from benchmarks.processes import cpu_seconds

_SETTINGS = (
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "shared_buffers",
    "max_wal_size",
    "autovacuum",
)


@dataclass(frozen=True, kw_only=True)
class Servers:
    """Where both are, and by which processes their CPU time can be counted: None where they are not ours to see."""

    database_url: str
    broker_url: str
    postgres_pid: int | None
    rabbitmq_pid: int | None

    @classmethod
    def find(cls, environment: Mapping[str, str]) -> Servers:
        """Read the two URLs and look the servers up. Raises BenchmarkError."""
        try:
            database, broker = environment["JOBSCHED_DATABASE_URL"], environment["JOBSCHED_BROKER_URL"]
        except KeyError as error:
            raise BenchmarkError(
                f"{error.args[0]} is not set: use `make bench`, which starts both servers, or name yours."
            ) from None
        if not broker.startswith("amqp"):
            raise BenchmarkError(
                f"JOBSCHED_BROKER_URL names a {urlsplit(broker).scheme} broker: Celery is compared on RabbitMQ."
            )
        return cls(
            database_url=database,
            broker_url=broker,
            postgres_pid=_postgres_pid(database),
            rabbitmq_pid=_rabbitmq_pid(urlsplit(broker)),
        )

    def postgres_cpu(self) -> float | None:
        """Return the CPU seconds that PostgreSQL has used, all its sessions included."""
        return None if self.postgres_pid is None else cpu_seconds([self.postgres_pid])

    def rabbitmq_cpu(self) -> float | None:
        """Return the CPU seconds that RabbitMQ has used."""
        return None if self.rabbitmq_pid is None else cpu_seconds([self.rabbitmq_pid])

    def make_database(self, name: str) -> str:
        """Make an empty database, instead of one that an earlier run left. Return its URL."""
        self.drop_database(name)
        with self._admin() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return urlunsplit(urlsplit(self.database_url)._replace(path=f"/{name}"))

    def drop_database(self, name: str) -> None:
        """Remove a database, also while somebody is connected."""
        with self._admin() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def delete_queue(self, name: str) -> None:
        """Remove a queue of the broker with all its messages."""
        with self._queue(name) as queue:
            queue.delete()

    def listen_to_task_events(self, name: str) -> None:
        """Make a queue that gets every task event of every worker on this broker."""
        with self._queue(name) as queue:
            queue.declare()

    def purge_queue(self, name: str) -> None:
        """Empty a queue that exists."""
        with self._queue(name) as queue:
            queue.purge()

    def wait_for_messages(self, name: str, wanted: int) -> int:
        """Wait some seconds until a queue holds as many messages; return how many it holds then."""
        deadline = time.monotonic() + 5.0
        with self._queue(name) as queue:
            while (held := _messages_in(queue)) < wanted:
                if time.monotonic() > deadline:
                    break
                time.sleep(0.05)
        return held

    @contextmanager
    def _queue(self, name: str) -> Iterator[Queue]:
        # Celery's exchange for events; the queues of tasks are only ever deleted here.
        events = Exchange("celeryev", type="topic")
        with Connection(self.broker_url) as connection, connection.channel() as channel:
            yield Queue(name, exchange=events, routing_key="task.#", channel=channel)

    def settle(self) -> None:
        """Write out what former work left to be written, so that nobody pays for the one before."""
        # Only some accounts may; then the server does it in its own time.
        with self._admin() as connection, suppress(psycopg.errors.InsufficientPrivilege):
            connection.execute("CHECKPOINT")

    def describe(self) -> dict[str, str]:
        """Return the versions of both and the settings that decide about durability."""
        with self._admin() as connection:
            told = {name: str(connection.execute(f"SHOW {name}").fetchone()[0]) for name in _SETTINGS}  # type: ignore[index]
        with Connection(self.broker_url) as broker:
            broker.connect()
            told["rabbitmq_version"] = str(broker.connection.server_properties.get("version", "unknown"))
        return told

    def _admin(self) -> psycopg.Connection:
        return psycopg.connect(self.database_url, autocommit=True)


def _messages_in(queue: Queue) -> int:
    # What the broker answers is a named tuple; kombu's stubs know it as text.
    _, messages, _ = cast("tuple[str, int, int]", queue.queue_declare(passive=True))
    return messages


def _postgres_pid(url: str) -> int | None:
    """Find the server by our own session: its process title names the port that we talk from."""
    try:
        connection = psycopg.connect(url, autocommit=True)
    except psycopg.OperationalError as error:
        raise BenchmarkError(f"PostgreSQL cannot be reached: {error}") from error
    with connection:
        backend = connection.info.backend_pid
        try:
            title = " ".join(psutil.Process(backend).cmdline())
            ports = {c.laddr.port for c in psutil.Process().net_connections("tcp")}
            parent = psutil.Process(backend).parent()
        except psutil.Error:
            return None
    if parent is None or not title.startswith("postgres") or not any(f"({port})" in title for port in ports):
        return None
    return int(parent.pid)


def _rabbitmq_pid(broker: SplitResult) -> int | None:
    """Find the process that listens where our messages go."""
    if broker.hostname not in ("127.0.0.1", "::1", "localhost"):
        return None
    try:
        listening = [c for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    except psutil.Error:
        return None
    port = broker.port or 5672
    return next((c.pid for c in listening if c.laddr.port == port and c.pid), None)
