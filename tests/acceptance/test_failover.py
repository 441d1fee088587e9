"""The primary is killed and its synchronous replica promoted: nothing acknowledged is lost, and all go on alone."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from jobsched.client import Client
from jobsched.domain.errors import JobschedError
from jobsched.local.account import PROJECT
from tests.acceptance.replicas import Pair, pair_of_servers
from tests.processes import Process, wait_for

JOBS = """
jobs:
  - {name: Each second, schedule: 1s, run: "true"}
  - {name: Short, run: "true"}
  - {name: Long, run: sleep 25}
"""
Start = Callable[..., Process]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with pair_of_servers(tmp_path) as servers:
        yield servers


@pytest.fixture
def env(pair: Pair, process_env: Mapping[str, str]) -> dict[str, str]:
    return {"JOBSCHED_DATABASE_URL": pair.url, "JOBSCHED_LEASE_SECONDS": "15", "JOBSCHED_HEARTBEAT_SECONDS": "3"}


@pytest.fixture
def client(env: Mapping[str, str], process_env: Mapping[str, str], start_web: Start, tmp_path: Path) -> Client:
    """An API on both servers, with the jobs of this test."""
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


@pytest.mark.timeout(300)
def test_a_fail_over_loses_nothing_and_needs_nobody(
    pair: Pair, env: Mapping[str, str], client: Client, start_beat: Start, start_worker: Start
) -> None:
    parts = [start_beat(env=env), start_beat(env=env), start_worker(env=env, concurrency=2), start_worker(env=env)]
    pids = [part.pid for part in parts]
    long = client.trigger("Long")["id"]
    acknowledged = [long]
    wait_for(lambda: client.run(long)["state"] == "running", what="the start of the long run")
    for _ in range(30):
        acknowledged.append(client.trigger("Short")["id"])

    pair.fail_over()
    promoted_at = time.time()

    acknowledged.append(wait_for(lambda: trigger(client), timeout=60, what="an answer of the API")["id"])
    wait_for(
        lambda: all(client.run(run)["state"] == "succeeded" for run in acknowledged),
        timeout=90,
        what="the success of all that was acknowledged",
    )
    wait_for(lambda: fired_since(pair, promoted_at) >= 5, timeout=60, what="fires after the fail-over")
    assert client.run(long)["attempt"] == 1, "the run that was under way did not go on"
    assert [part.pid for part in parts] == pids
    assert all(Path(f"/proc/{pid}").exists() for pid in pids)
    # What was due while there was no primary was made up for, each instant once.
    gaps = pair.rows(
        "SELECT scheduled_for FROM (SELECT scheduled_for, state, "
        "scheduled_for - lag(scheduled_for) OVER (ORDER BY scheduled_for) AS step, skipped_count "
        "FROM jobs_run WHERE schedule_id IS NOT NULL) AS fires "
        "WHERE step > interval '1 second' AND coalesce(skipped_count, 0) = 0 AND state <> 'skipped'"
    )
    assert gaps == []


def trigger(client: Client) -> dict[str, Any] | None:
    try:
        return client.trigger("Short")
    except JobschedError:
        return None


def fired_since(pair: Pair, moment: float) -> int:
    return int(pair.rows("SELECT count(*) FROM jobs_run WHERE scheduled_for > to_timestamp(%s)", moment)[0][0])
