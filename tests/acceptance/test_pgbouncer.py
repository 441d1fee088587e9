"""Beats and workers behind PgBouncer in transaction mode: no session is theirs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from django.db import connection

from jobs.models import Run
from jobsched.local.ports import free_port
from jobsched.local.service import Service
from jobsched.shim.users import service_user
from tests.processes import Process, wait_for
from tests.unrun import needs


@pytest.fixture
def pooled_url(transactional_db: None, processes: ExitStack, tmp_path: Path) -> Iterator[str]:
    """The test's database through a PgBouncer with three server connections."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        needs("pgbouncer", "`apt-get install pgbouncer` provides it")
    url = urlsplit(os.environ["JOBSCHED_DATABASE_URL"])
    port, folder = free_port(), tmp_path / "pgbouncer"
    folder.mkdir()
    users = folder / "users"
    users.write_text(f'"{url.username}" "{url.password}"\n')
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        f"[databases]\n* = host={url.hostname} port={url.port}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = scram-sha-256\nauth_file = {users}\npool_mode = transaction\n"
        "default_pool_size = 3\nmin_pool_size = 1\nlogfile =\n"
    )
    pooled = url._replace(
        netloc=f"{url.username}:{url.password}@127.0.0.1:{port}", path=f"/{connection.settings_dict['NAME']}"
    ).geturl()

    def answers() -> bool:
        try:
            psycopg.connect(pooled, connect_timeout=2).close()
        except psycopg.Error:
            return False
        return True

    service = Service(
        name="pgbouncer",
        argv=(program, "-q", str(settings)),
        user=service_user(os.environ),  # it refuses to be root
        env={"PATH": os.environ["PATH"]},
        cwd=folder,
        log=folder / "log",
        is_ready=answers,
        grace=timedelta(seconds=2),
    )
    processes.enter_context(Process(service))
    yield pooled


def test_jobs_fire_and_run_without_a_session_of_their_own(
    pooled_url: str,
    save: Callable[..., str],
    start_beat: Callable[..., Process],
    start_worker: Callable[..., Process],
) -> None:
    pooled = {"JOBSCHED_DATABASE_URL": pooled_url, "JOBSCHED_PREPARED_STATEMENTS": "false"}
    save("Each second", schedule="1s", run="true")
    save("One after the other", schedule="1s", overlap="queue", run="true")
    beats = [start_beat(env=pooled) for _ in range(2)]
    worker = start_worker(env=pooled, concurrency=2)
    for name in ("Each second", "One after the other"):
        done = Run.objects.filter(state="succeeded", job__name=name)
        wait_for(lambda done=done: done.count() >= 5, timeout=90, what=f"runs of {name}")
    instants = list(Run.objects.values_list("schedule_id", "scheduled_for"))
    assert len(instants) == len(set(instants))
    assert not Run.objects.filter(state="failed").exists()
    for process in (*beats, worker):
        assert "prepared statement" not in process.log() and "Traceback" not in process.log()
