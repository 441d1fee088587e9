"""How many connections to PostgreSQL each process holds, as docs/deployment.md says, and what happens without any."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from django.db import connection

from jobs.models import Run
from jobsched import net
from jobsched.local.account import PROJECT
from jobsched.local.servers import DatabaseServer, postgres
from tests.acceptance.conftest import ended
from tests.processes import Process, wait_for

pytestmark = pytest.mark.timeout(400)
Start = Callable[..., Process]
SOON_IDLE = {"JOBSCHED_IDLE_CONNECTION_SECONDS": "1"}
WORKER, OTHER = "worker", "other"


def documented() -> dict[str, int]:
    """Return the numbers of the table in docs/deployment.md: how many connections each process holds at most."""
    page = (PROJECT / "docs" / "deployment.md").read_text()
    rows = re.findall(r"^\| ([\w, ]+) \|[^|\n]*\| (\d+) \|$", page.partition("## Connections to PostgreSQL")[2], re.M)
    return {name: int(number) for name, number in rows}


class Sampler:
    """Looks at pg_stat_activity again and again, and remembers the most connections that there were at once."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.most = {WORKER: 0, OTHER: 0}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def forget(self) -> None:
        self.most = {WORKER: 0, OTHER: 0}

    def now(self) -> dict[str, int]:
        return {kind: len(pids) for kind, pids in sessions(self._url).items()}

    def _watch(self) -> None:
        with psycopg.connect(self._url, autocommit=True, application_name="sampler") as link:
            while not self._stop.wait(0.05):
                for kind, pids in sessions_seen_by(link).items():
                    self.most[kind] = max(self.most[kind], len(pids))


def sessions_seen_by(link: psycopg.Connection[tuple[object, ...]]) -> dict[str, set[int]]:
    """Return the server processes of our sessions in the database of `link`, but those of this test."""
    found: dict[str, set[int]] = {WORKER: set(), OTHER: set()}
    query = "SELECT pid, application_name FROM pg_stat_activity WHERE datname = current_database()"
    for pid, name in link.execute(query).fetchall():
        if str(name).startswith("jobsched") and pid != connection_pid():
            found[WORKER if str(name).endswith(" worker") else OTHER].add(int(str(pid)))
    return found


def sessions(url: str) -> dict[str, set[int]]:
    with psycopg.connect(url, application_name="sampler") as link:
        return sessions_seen_by(link)


def connection_pid() -> int | None:
    return None if connection.connection is None else connection.connection.info.backend_pid


@pytest.fixture
def sampler(process_env: Mapping[str, str]) -> Iterator[Sampler]:
    with Sampler(process_env["JOBSCHED_DATABASE_URL"]) as sampler:
        yield sampler


def test_beat_and_web_hold_as_many_connections_as_the_page_says(
    sampler: Sampler, start_beat: Start, start_web: Start
) -> None:
    beat = start_beat()
    wait_for(lambda: sampler.most[OTHER] >= documented()["beat"], timeout=60, what="the connections of a beat")
    sampler.forget()
    web = start_web(env={"WEB_CONCURRENCY": "1"})
    with ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(lambda number: net.fetch(f"{web.url}{path(number)}").status, range(300)))
    assert answers.count(200) >= 100
    most = sampler.most[OTHER]
    assert documented()["beat"] < most <= documented()["beat"] + documented()["web process"], most
    assert beat.is_running()


def path(number: int) -> str:
    """Two of three requests use the database: a sign-in that fails is counted in it."""
    return ("/healthz", "/admin/login/", "/api/v1/jobs/")[number % 3]


def test_a_busy_slot_holds_as_many_connections_as_the_page_says_and_an_idle_one_none(
    save: Callable[..., str], request_run: Callable[..., Run], start_worker: Start, sampler: Sampler
) -> None:
    limit = 2 * documented()["slot"] + documented()["worker, its main process"]
    worker = start_worker(concurrency=2, env=SOON_IDLE)
    save("Asks", call="tests.sample_callables:ask_database", params={"seconds": 2})
    for run in [request_run(job="Asks") for _ in range(4)]:
        assert ended(run).state == "succeeded"
    assert 2 * documented()["slot"] <= sampler.most[WORKER] <= limit
    wait_for(lambda: sampler.now()[WORKER] == 0, timeout=60, what="idle slots without connections")
    assert ended(request_run(job="Asks")).state == "succeeded"  # they connect again by themselves
    assert "Traceback" not in worker.log()


def test_under_load_a_slot_keeps_its_connection_from_run_to_run(
    save: Callable[..., str],
    request_run: Callable[..., Run],
    start_worker: Start,
    process_env: Mapping[str, str],
) -> None:
    start_worker(concurrency=2, env={"JOBSCHED_IDLE_CONNECTION_SECONDS": "60"})
    save("Quick", run="true")

    def perform(runs: int) -> set[int]:
        """Return the connections of the worker after so many runs."""
        for run in [request_run(job="Quick") for _ in range(runs)]:
            ended(run)
        return sessions(process_env["JOBSCHED_DATABASE_URL"])[WORKER]

    of_slots = perform(10) & perform(5)  # its main process has one now and then, and never in both
    assert of_slots
    assert of_slots <= perform(60)


def test_connections_of_django_in_an_idle_slot_are_closed_too(
    save: Callable[..., str], request_run: Callable[..., Run], start_worker: Start, sampler: Sampler
) -> None:
    start_worker(concurrency=1, env=SOON_IDLE)
    save("Asks here", call="tests.sample_callables:trusted_asks")
    run = ended(request_run(job="Asks here"))
    assert run.state == "succeeded", run.reason
    wait_for(lambda: sampler.now()[WORKER] == 0, timeout=60, what="an idle slot without connections")
    assert ended(request_run(job="Asks here")).state == "succeeded"


# Too few connections --------------------------------------------------------------------------------------

ALLOWED = 9
RUNS = 20
SETUP = f"""
import sys
import django; django.setup()
from jobs.services import control, definitions
from jobsched.domain.manifest import parse_job
waits = "until [ -e '" + sys.argv[1] + "' ]; do sleep 0.2; done"
definitions.save(parse_job({{"name": "Waits", "run": waits}}), actor="test")
control.trigger_many(job="Waits", count={RUNS}, actor="test")
"""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[DatabaseServer]:
    """A PostgreSQL that allows nine connections to our role, and three more to its superuser."""
    with postgres(tmp_path / "small", max_connections=ALLOWED + 3) as server:
        yield server


def test_more_slots_than_connections_lose_nothing_and_leave_room(
    small: DatabaseServer, process_env: Mapping[str, str], start_worker: Start, start_beat: Start, tmp_path: Path
) -> None:
    env = {"JOBSCHED_DATABASE_URL": small.url, **SOON_IDLE}
    for command in (["manage.py", "migrate", "--noinput"], ["-c", SETUP, str(tmp_path / "go on")]):
        given = {**process_env, **env, "DJANGO_SETTINGS_MODULE": "config.settings"}
        subprocess.run([sys.executable, *command], env=given, cwd=PROJECT, check=True, capture_output=True, timeout=120)
    start_beat(env=env)  # it repeats hints, also for slots that had no connection when the first ones came
    worker, _ = (start_worker(concurrency=6, env=env) for _ in range(2))
    with psycopg.connect(small.superuser_url, autocommit=True) as operator:

        def used() -> int:
            return len(sessions_seen_by(operator)[WORKER])

        def refused() -> bool:
            try:
                psycopg.connect(small.url).close()
            except psycopg.OperationalError as error:
                return "too many clients" in str(error) or "connection slots are reserved" in str(error)
            return False

        wait_for(refused, timeout=90, what="a server without a connection left")
        psycopg.connect(small.superuser_url).close()  # an operator gets in all the same
        done = "SELECT count(*) FROM jobs_run WHERE state = 'succeeded' AND attempt = 1"
        assert operator.execute(done).fetchone() == (0,)
        (tmp_path / "go on").touch()
        wait_for(lambda: operator.execute(done).fetchone() == (RUNS,), timeout=120, what="the end of all runs")
        wait_for(lambda: used() == 0, timeout=60, what="idle slots without connections")
    psycopg.connect(small.url).close()
    assert "too few database connections: 1 worker with 6 slots may need 14 connections" in worker.log()
