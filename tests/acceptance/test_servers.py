"""The servers by themselves: what tests and benchmarks of this project stand on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from kombu import Connection

from jobsched.local.servers import postgres, rabbitmq
from tests.acceptance.commands import processes_of
from tests.processes import wait_for


def test_postgres_keeps_its_data_and_address_through_a_stop_and_a_kill(tmp_path: Path) -> None:
    with postgres(tmp_path) as server:
        with psycopg.connect(server.url) as connection:
            connection.execute("CREATE TABLE kept (id int)")
        server.restart()
        with psycopg.connect(server.url) as connection:
            connection.execute("INSERT INTO kept VALUES (1)")
        server.kill()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(server.url)
        server.start()
        with psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT * FROM kept").fetchall() == [(1,)]
    wait_for(lambda: processes_of(tmp_path) == [], what="the end of the server")


def test_postgres_wants_the_password(tmp_path: Path) -> None:
    with postgres(tmp_path) as server:
        wrong = server.url.replace(server.url.split(":")[2].split("@")[0], "wrong")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(wrong)


def test_postgres_starts_although_its_lock_file_names_a_living_stranger(tmp_path: Path) -> None:
    """What is left after a kill, when the number has been given to another process."""
    with postgres(tmp_path) as server:
        lock = tmp_path / "postgres" / "data" / "postmaster.pid"
        left = lock.read_text().splitlines()
        server.kill()
        lock.write_text("\n".join([str(os.getpid()), *left[1:]]) + "\n")
        server.start()
        psycopg.connect(server.url).close()


def test_rabbitmq_keeps_messages_through_a_stop_and_has_no_guest(tmp_path: Path, broker_url: str) -> None:
    with rabbitmq(tmp_path) as server:
        with Connection(server.url, transport_options={"confirm_publish": True}) as connection:
            connection.SimpleQueue("kept").put("a message")
        server.restart()
        with Connection(server.url) as connection:
            assert connection.SimpleQueue("kept").get(timeout=10).payload == "a message"
        guest = f"amqp://guest:guest@{server.url.partition('@')[2]}"
        with pytest.raises(Exception, match="ACCESS_REFUSED"), Connection(guest) as connection:
            connection.connect()
        server.kill()
        server.start()
    wait_for(lambda: processes_of(tmp_path) == [], what="the end of the broker and its name directory")


def execute(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jobsched.local", "exec", *arguments],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_exec_names_the_servers_to_a_command_and_returns_its_status(tmp_path: Path) -> None:
    script = "import os, psycopg; psycopg.connect(os.environ['JOBSCHED_DATABASE_URL']); raise SystemExit(5)"
    done = execute(
        "--without-broker", "--data", str(tmp_path / "data"), "--", sys.executable, "-c", script, cwd=tmp_path
    )
    assert done.returncode == 5, done.stderr
    assert processes_of(tmp_path) == []


def test_exec_that_is_killed_leaves_no_server(tmp_path: Path) -> None:
    data = tmp_path / "data"
    command = [sys.executable, "-m", "jobsched.local", "exec", "--without-broker", "--data", str(data), "--"]
    process = subprocess.Popen([*command, "sh", "-c", f"touch {tmp_path}/runs; sleep 600"])
    wait_for((tmp_path / "runs").exists, timeout=60, what="the start of the command")
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    wait_for(lambda: processes_of(tmp_path) == [], what="the end of every process")


def test_exec_of_a_command_that_does_not_exist_says_so(tmp_path: Path) -> None:
    done = execute("--without-broker", "--", "no-such-command", cwd=tmp_path)
    assert done.returncode == 127
    assert "no-such-command cannot be run" in done.stderr
    assert "Traceback" not in done.stderr
