"""A crash or a fail-over of PostgreSQL forgets the last renewals of leases: no attempt is lost by that.

What PostgreSQL forgets depends on the moment; so these tests write what it may know afterwards: that the lease ended.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from jobsched.client import Client
from jobsched.local.account import PROJECT
from tests.acceptance.replicas import Pair, pair_of_servers
from tests.processes import Process, wait_for

Start = Callable[..., Process]

JOBS = """
jobs:
  - {name: Each second, schedule: 1s, run: "true"}
  - {name: Long, timeout: 1h, run: 'until test -e "$JOBSCHED_PARAM_FILE"; do sleep 0.1; done'}
"""
LONG_LEASE = {"JOBSCHED_LEASE_SECONDS": "600", "JOBSCHED_HEARTBEAT_SECONDS": "5"}
"""However slow the machine, the worker's own deadline does not come in these tests."""


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with pair_of_servers(tmp_path) as servers:
        yield servers


@pytest.fixture
def env(pair: Pair) -> dict[str, str]:
    return {"JOBSCHED_DATABASE_URL": pair.url, **LONG_LEASE}


@pytest.fixture
def client(env: Mapping[str, str], process_env: Mapping[str, str], start_web: Start, tmp_path: Path) -> Client:
    token = tmp_path / "token"
    for command in (["migrate", "--noinput"], ["bootstrap", "--token-file", str(token)]):
        subprocess.run(
            [sys.executable, "manage.py", *command],
            env={**process_env, **env},
            cwd=PROJECT,
            check=True,
            capture_output=True,
            timeout=120,
        )
    made = Client(start_web(env=env).url, token.read_text().strip())
    made.apply(JOBS)
    return made


def kill_server(pair: Pair) -> None:
    pair.primary.kill()
    pair.primary.start()


def kill_session(pair: Pair) -> None:
    """Kill one process of the server. Its main process goes on, and starts all others anew."""
    with suppress(psycopg.OperationalError), psycopg.connect(pair.primary.superuser_url) as connection:
        os.kill(connection.info.backend_pid, signal.SIGKILL)
        connection.execute("SELECT pg_sleep(60)")


@pytest.mark.timeout(600)
def test_an_attempt_whose_lease_seems_to_have_ended_goes_on(
    pair: Pair, env: Mapping[str, str], client: Client, start_beat: Start, start_worker: Start, tmp_path: Path
) -> None:
    """A beat that was just started must not reap it, and its worker, which comes back later, must not give it up."""
    start_worker(env=env)
    end = tmp_path / "end"
    run = client.trigger("Long", params={"file": str(end)})["id"]
    wait_for(lambda: client.run(run)["state"] == "running", timeout=90, what="the start of the run")
    slot = int(client.run(run)["worker"].rpartition("/")[2])

    for crash in (kill_session, kill_server, Pair.fail_over):
        os.kill(slot, signal.SIGSTOP)
        try:
            pair.rows("UPDATE jobs_run SET lease_until = clock_timestamp() - interval '1 hour' WHERE id = %s", run)
            crash(pair)
            before = wait_for(lambda: fires(pair), timeout=90, what="an answer of the database")
            beat = start_beat(env=env)
            wait_for(lambda at=before: fires(pair) > at + 2, timeout=90, what="fires of the new beat")
            assert attempt(pair, run) == ("running", 1), f"reaped after {crash.__name__}"
            beat.kill()
        finally:
            os.kill(slot, signal.SIGCONT)
        wait_for(lambda: is_renewed(pair, run), timeout=90, what=f"the renewal after {crash.__name__}")

    end.touch()
    wait_for(lambda: attempt(pair, run) == ("succeeded", 1), timeout=90, what="the success of the first attempt")


def fires(pair: Pair) -> int:
    """Return one more than the number of runs that beats have made; 0 while the database does not answer."""
    try:
        return 1 + int(pair.rows("SELECT count(*) FROM jobs_run WHERE schedule_id IS NOT NULL")[0][0])
    except psycopg.OperationalError:
        return 0


def is_renewed(pair: Pair, run: int) -> bool:
    return bool(pair.rows("SELECT id FROM jobs_run WHERE id = %s AND lease_until > clock_timestamp()", run))


def attempt(pair: Pair, run: int) -> tuple[str, int]:
    """Return the state of a run, and which attempt it is at."""
    [row] = pair.rows("SELECT state, attempt FROM jobs_run WHERE id = %s", run)
    return row[0], row[1]
