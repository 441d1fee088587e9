"""A streaming replica of a private PostgreSQL, and its promotion."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from jobsched.local.account import give
from jobsched.local.postgres import programs
from jobsched.local.servers import DatabaseServer, postgres
from jobsched.local.service import as_user
from jobsched.local.state import DataFolder
from jobsched.shim.users import service_user
from tests.processes import wait_for


class Pair:
    """A primary and its replica, and the address that names both."""

    def __init__(self, primary: DatabaseServer, replica: DatabaseServer, replica_folder: Path) -> None:
        self.primary = primary
        self.replica = replica
        self.url = self._both(primary.url)
        self._replica_folder = replica_folder

    def fail_over(self) -> None:
        """Kill the primary and promote the replica."""
        self.primary.kill()
        promote(self._replica_folder)

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Read from whichever can be written to, as a superuser."""
        with psycopg.connect(self._both(self.primary.superuser_url) + "?target_session_attrs=read-write") as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def _both(self, url: str) -> str:
        first, second = urlsplit(url), urlsplit(self.replica.url)
        return first._replace(netloc=f"{first.netloc},{second.hostname}:{second.port}").geturl()


@contextmanager
def pair_of_servers(folder: Path) -> Iterator[Pair]:
    """Run a primary and a synchronous replica of it, with their data in `folder`."""
    one, two = folder / "one", folder / "two"
    with postgres(one) as primary, replica_of(primary, two, of=one, synchronous=True) as replica:
        yield Pair(primary, replica, two)


@contextmanager
def replica_of(primary: DatabaseServer, folder: Path, *, of: Path, synchronous: bool) -> Iterator[DatabaseServer]:
    """Run a replica in `folder` of the primary whose data is in `of`.

    With a `synchronous` one the primary commits nothing without it.
    """
    DataFolder(folder).create()
    shutil.copy(of / "secrets.json", folder / "secrets.json")  # the roles, and so their passwords, are the same
    data = _data(folder)
    data.mkdir(mode=0o700, parents=True)
    if (user := service_user(os.environ)) is not None:
        give(data.parent, user)
    url = urlsplit(primary.superuser_url)
    _run(
        "pg_basebackup",
        *(f"--host={url.hostname}", f"--port={url.port}", f"--username={url.username}", "--no-password"),
        *(f"--pgdata={data}", "--write-recovery-conf", "--checkpoint=fast", "--no-sync"),
        password=url.password or "",
    )
    with postgres(folder) as replica:
        with psycopg.connect(primary.superuser_url, autocommit=True) as connection:
            if synchronous:
                connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
                connection.execute("SELECT pg_reload_conf()")
            expected = ("streaming", "sync" if synchronous else "async")

            def replicates() -> bool:
                return connection.execute("SELECT state, sync_state FROM pg_stat_replication").fetchall() == [expected]

            wait_for(replicates, timeout=60, what="replication")
        yield replica


def promote(folder: Path) -> None:
    """Make the replica whose data is in `folder` the primary."""
    data = _data(folder)
    _run("pg_ctl", "promote", f"--pgdata={data}", "--wait", password="")


def _data(folder: Path) -> Path:
    return folder.absolute() / "postgres" / "data"


def _run(program: str, *words: str, password: str) -> None:
    """Run one of PostgreSQL's programs as the user of the server."""
    subprocess.run(
        [*as_user(service_user(os.environ)), str(programs() / program), *words],
        env={"PATH": os.environ.get("PATH", os.defpath), "PGPASSWORD": password},
        cwd="/",
        check=True,
        capture_output=True,
        timeout=120,
    )
