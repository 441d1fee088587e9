"""A streaming replica of a private PostgreSQL, and its promotion."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from jobsched.local.account import give
from jobsched.local.postgres import programs
from jobsched.local.servers import DatabaseServer, postgres
from jobsched.local.service import as_user
from jobsched.local.state import DataFolder
from jobsched.shim.users import service_user
from tests.processes import wait_for


@contextmanager
def synchronous_replica(primary: DatabaseServer, folder: Path, *, of: Path) -> Iterator[DatabaseServer]:
    """Run a replica in `folder` of the primary whose data is in `of`. The primary commits nothing without it."""
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
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            connection.execute("SELECT pg_reload_conf()")

            def is_synchronous() -> bool:
                found = connection.execute("SELECT sync_state FROM pg_stat_replication").fetchall()
                return found == [("sync",)]

            wait_for(is_synchronous, timeout=60, what="synchronous replication")
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
