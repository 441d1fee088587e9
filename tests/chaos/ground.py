"""The servers that experiments break: a PostgreSQL and a RabbitMQ of the suite's own, shared one after the other.

Each experiment gets a database of its own, copied from one that is migrated already, and empty queues.
"""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import psycopg
from kombu import Connection
from psycopg import sql

from jobsched.local.servers import DatabaseServer, Server, postgres, rabbitmq
from jobsched.shim.users import JOB_UIDS_VARIABLE, USER_VARIABLE

QUEUES: Final = ("default", "second", "third")
LEASE_SECONDS: Final = {True: 15.0, False: 9.0}
"""For the full suite, and for smaller scales: a short mix has no time for long leases. A machine that is shared, as it
is where a mix runs, may stand still for some seconds; with leases of six healthy workers then lost theirs."""


class Ground:
    """Both servers, and the environment that names them."""

    def __init__(self, folder: Path, postgres: DatabaseServer, rabbitmq: Server, *, scale: float) -> None:
        self.folder = folder
        self.lease_seconds = LEASE_SECONDS[scale >= 1]
        self.heartbeat_seconds = self.lease_seconds / 6
        self.postgres = postgres
        self.rabbitmq = rabbitmq
        self._databases = 0

    def prepare(self, mutant: str | None) -> None:
        """Name the servers in our own environment, set Django up, and migrate the database that others copy."""
        kept = (USER_VARIABLE, JOB_UIDS_VARIABLE)
        for name in [name for name in os.environ if name.startswith("JOBSCHED_") and name not in kept]:
            del os.environ[name]
        os.environ.update(self._environment(mutant))
        import django  # it reads the environment that has just been made
        from django.core.management import call_command

        django.setup()
        import tests.chaos.tasks  # noqa: F401 - this process knows them as the workers do

        call_command("migrate", verbosity=0)
        _use_database(urlsplit(self.postgres.url).path.lstrip("/"))

    def _environment(self, mutant: str | None) -> Mapping[str, str]:
        modules = ["tests.chaos.tasks", *(["tests.chaos.mutants"] if mutant else [])]
        return {
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "JOBSCHED_DATABASE_URL": self.postgres.url,
            "JOBSCHED_BROKER_URL": self.rabbitmq.url,
            "JOBSCHED_SECRET_KEY": secrets.token_urlsafe(48),
            "JOBSCHED_DATA_DIR": str(self.folder),
            "JOBSCHED_QUEUES": ",".join(QUEUES),
            "JOBSCHED_LEASE_SECONDS": f"{self.lease_seconds:g}",
            "JOBSCHED_HEARTBEAT_SECONDS": f"{self.heartbeat_seconds:g}",
            "JOBSCHED_IMPORTS": ",".join(modules),
            "JOBSCHED_LOG_LEVEL": "WARNING",
            **({"CHAOS_MUTANT": mutant} if mutant else {}),
        }

    def fresh_database(self) -> str:
        """Make a database for the next experiment, also for this process's own Django. Return its address."""
        self.mend()
        self._databases += 1
        template, name = urlsplit(self.postgres.url).path.lstrip("/"), f"chaos_{self._databases}"
        _use_database(name)
        with psycopg.connect(self.postgres.url, dbname="postgres", autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
            )
        return urlsplit(self.postgres.url)._replace(path=f"/{name}").geturl()

    def empty_queues(self) -> None:
        """Take the queues away, with what earlier experiments left in them."""
        with Connection(self.rabbitmq.url) as connection:
            for queue in QUEUES:
                connection.default_channel.queue_delete(queue)

    def mend(self) -> None:
        """Start again what an experiment left dead, and wake what it left frozen."""
        for server, answers in ((self.postgres, self._postgres_answers), (self.rabbitmq, self._rabbitmq_answers)):
            with suppress(Exception):
                os.killpg(server.pid, signal.SIGCONT)
            if not answers():
                server.kill()
                server.start()

    def _postgres_answers(self) -> bool:
        try:
            psycopg.connect(self.postgres.url, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _rabbitmq_answers(self) -> bool:
        try:
            with Connection(self.rabbitmq.url, connect_timeout=5) as connection:
                connection.ensure_connection(max_retries=1, interval_start=0)
        except Exception:  # whatever it is, the server is started anew
            return False
        return True


def _use_database(name: str) -> None:
    from django.db import connection  # Django is set up by now

    connection.close()
    connection.settings_dict["NAME"] = name


@contextmanager
def ground(folder: Path, *, scale: float) -> Iterator[Ground]:
    """Start both servers at once, and end them. Their threads live as long as they do, as they end with those."""
    with ExitStack() as stack, ThreadPoolExecutor(2) as pool:
        database = pool.submit(stack.enter_context, postgres(folder))
        broker = pool.submit(stack.enter_context, rabbitmq(folder))
        try:
            yield Ground(folder, database.result(), broker.result(), scale=scale)
        finally:
            for server in (database, broker):
                server.exception()
            stack.close()
