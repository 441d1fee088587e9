"""`doctor` on servers that are really away, unsafe, standing by, out of memory, or well."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import User
from knox.models import AuthToken

from jobsched.local.servers import postgres, rabbitmq
from tests.chaos.broker_control import end_memory_alarm, raise_memory_alarm
from tests.processes import Process, wait_for

ROOT = Path(__file__).parents[2]


def doctor(**env: str) -> tuple[int, dict[str, dict[str, str]], str]:
    """Return its status, its findings by check, and all that it printed."""
    told = subprocess.run(
        [sys.executable, "manage.py", "doctor", "--json"],
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in told.stderr, told.stderr
    findings = {f"{f['about']}.{f['check']}": f for f in json.loads(told.stdout)["findings"]}
    return told.returncode, findings, told.stdout + told.stderr


def test_servers_that_are_away_are_a_sentence_each_and_no_secret(tmp_path: Path) -> None:
    status, found, said = doctor(
        JOBSCHED_DATABASE_URL="postgres://ann:hush-hush@127.0.0.1:1/none",
        JOBSCHED_BROKER_URL="amqp://ann:hush-hush@127.0.0.1:1//",
    )
    assert status == 1 and "hush" not in said
    assert found["postgresql.reachable"]["level"] == found["rabbitmq.reachable"]["level"] == "error"
    assert "Connection refused" in found["postgresql.reachable"]["sentence"]
    assert "Connection refused" in found["rabbitmq.reachable"]["sentence"]


def test_a_database_that_may_lose_data_or_stands_by_is_an_error(tmp_path: Path, broker_url: str) -> None:
    with postgres(tmp_path) as server:
        with psycopg.connect(server.superuser_url, autocommit=True) as link:
            for setting in ("fsync", "full_page_writes", "synchronous_commit", "autovacuum"):
                link.execute(f"ALTER SYSTEM SET {setting} = off")
            link.execute("SELECT pg_reload_conf()")
            wait_for(lambda: psycopg.connect(server.url).execute("SHOW fsync").fetchone() == ("off",))
        status, found, _ = doctor(JOBSCHED_DATABASE_URL=server.url)
        assert status == 1
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            assert found[f"postgresql.{setting}"]["level"] == "error", setting
        assert found["postgresql.autovacuum"]["level"] == "warning"
        assert "manage.py migrate" in found["postgresql.migrations"]["sentence"]
        assert found["postgresql.writable"]["level"] == "fine"

        server.stop()
        (tmp_path / "postgres" / "data" / "standby.signal").touch()
        server.start()
        status, found, _ = doctor(JOBSCHED_DATABASE_URL=server.url)
        assert status == 1 and "is a standby" in found["postgresql.writable"]["sentence"]


def test_a_broker_out_of_memory_is_an_error(tmp_path: Path, broker_url: str) -> None:
    with rabbitmq(tmp_path) as server:
        _, found, _ = doctor(JOBSCHED_BROKER_URL=server.url)
        assert found["rabbitmq.alarms"]["level"] == "fine"
        raise_memory_alarm(server)
        status, found, _ = doctor(JOBSCHED_BROKER_URL=server.url)
        assert status == 1 and "takes no messages" in found["rabbitmq.alarms"]["sentence"]
        end_memory_alarm(server)
        wait_for(lambda: doctor(JOBSCHED_BROKER_URL=server.url)[1]["rabbitmq.alarms"]["level"] == "fine", timeout=60)


def test_a_stack_that_is_well_is_well_from_a_terminal_too(
    process_env: dict[str, str],
    start_worker: Callable[..., Process],
    start_beat: Callable[..., Process],
    start_web: Callable[..., Process],
) -> None:
    start_worker()
    start_beat()
    web = start_web()
    _, token = AuthToken.objects.create(User.objects.create_superuser("ann"))
    env = {**process_env, "JOBSCHED_URL": web.url, "JOBSCHED_TOKEN": token}

    def command(*words: str) -> Any:
        return subprocess.run(
            [sys.executable, "-c", "from jobsched.cli import main; main()", "doctor", *words],
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    report = json.loads(command("--json").stdout)
    assert [f for f in report["findings"] if f["level"] == "error"] == []
    assert report["healthy"] is True
    told = command("--all")
    assert told.returncode == 0 and "No schedule is overdue." in told.stdout, told.stderr
    status, _, _ = doctor(**process_env)
    assert status == 0

    web.kill()
    away = command()
    assert away.returncode == 3 and "cannot be reached" in away.stderr


@pytest.mark.parametrize("database", ["default", None])
def test_djangos_check_asks_the_database_only_when_told_to(
    tmp_path: Path, process_env: dict[str, str], database: str | None
) -> None:
    with postgres(tmp_path) as server:
        with psycopg.connect(server.superuser_url, autocommit=True) as link:
            link.execute("ALTER SYSTEM SET fsync = off")
            link.execute("SELECT pg_reload_conf()")
            wait_for(lambda: psycopg.connect(server.url).execute("SHOW fsync").fetchone() == ("off",))
        told = subprocess.run(
            [sys.executable, "manage.py", "check", *(["--database", database] if database else [])],
            cwd=ROOT,
            env={**os.environ, "JOBSCHED_DATABASE_URL": server.url},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert told.returncode == 0
    assert ("fsync is off" in told.stdout + told.stderr) is (database is not None)
