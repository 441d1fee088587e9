"""`make up`: the whole stack in the foreground, on a machine whose usual ports are taken."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest

from jobsched import net
from jobsched.client import Client
from tests.acceptance.commands import Command, processes_of
from tests.processes import wait_for

pytestmark = pytest.mark.timeout(400)
USUAL_PORTS = (4369, 5432, 5555, 5672, 8000, 25672)


@pytest.fixture(scope="module")
def taken_ports() -> Iterator[None]:
    """Somebody else's servers hold the ports that ours would have by default."""
    with ExitStack() as stack:
        for port in USUAL_PORTS:
            with suppress(OSError):  # really taken
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("up")


@pytest.fixture(scope="module")
def up(folder: Path, taken_ports: None, broker_url: str) -> Iterator[Command]:
    command = Command("up", data=folder / "data", output=folder / "output")
    try:
        command.wait_until_it_says("Logs ")
        yield command
    finally:
        command.end()


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match, f"{pattern} is not in:\n{text}"
    return match[1]


def test_it_says_which_broker_it_took_and_why(up: Command) -> None:
    assert "Broker  a private RabbitMQ, because rabbitmq-server is installed" in up.said()


def test_it_is_healthy_at_the_address_it_says(up: Command) -> None:
    web = found(r"Web +(http://127\.0\.0\.1:\d+)/", up.said())
    assert not web.endswith(tuple(f":{port}" for port in USUAL_PORTS))
    assert net.fetch(f"{web}/healthz").status == 200


def test_the_api_is_found_through_the_data_folder(up: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOBSCHED_URL", raising=False)
    monkeypatch.setenv("JOBSCHED_DATA_DIR", str(up.data))
    assert Client.local().jobs() == []


def test_the_printed_password_opens_flower_and_nothing_else_does(up: Command) -> None:
    url, password = found(r"Flower +(http://\S+)", up.said()), found(r"Flower .*password (\S+)", up.said())
    credentials = base64.b64encode(f"admin:{password}".encode()).decode()
    assert net.fetch(f"{url}api/workers").status == 401
    assert net.fetch(f"{url}api/workers", headers={"Authorization": f"Basic {credentials}"}).status == 200


def test_servers_listen_on_loopback_only(up: Command) -> None:
    """Ours are the descendants of the command; their sockets are all on 127.0.0.1 or ::1."""
    ours = psutil.Process(up.process.pid).children(recursive=True)
    heard = {
        connection.laddr.ip
        for process in ours
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert heard
    assert heard <= {"127.0.0.1", "::1"}


def test_no_secret_is_in_a_command_line(up: Command) -> None:
    secrets = [
        *json.loads((up.data / "secrets.json").read_text()).values(),
        (up.data / "service" / "api-token").read_text(),
    ]
    lines = "\n".join(processes_of(up.data))
    assert "celery" in lines
    assert not [secret for secret in secrets if secret in lines]


def test_no_secret_is_in_a_log(up: Command) -> None:
    kept = json.loads((up.data / "secrets.json").read_text())
    for log in (up.data / "log").iterdir():
        text = log.read_text(errors="replace")
        assert not [name for name, secret in kept.items() if secret in text], log


def test_a_second_one_is_told_where_the_first_one_is(up: Command, folder: Path) -> None:
    second = Command("up", data=up.data, output=folder / "second")
    assert second.process.wait(60) == 1
    assert f"already running in {up.data} at http://127.0.0.1:" in second.said()
    assert "Traceback" not in second.said()


def test_a_process_that_dies_comes_back(up: Command) -> None:
    beat = next(p for p in psutil.Process(up.process.pid).children(recursive=True) if "beat" in p.cmdline())
    beat.kill()
    up.wait_until_it_says("beat is back")


def test_ctrl_c_stops_every_process_and_a_kill_leaves_none_and_the_data_stays(up: Command, folder: Path) -> None:
    """The last test of this module, because it ends the stack that the others share."""
    token = (up.data / "service" / "api-token").read_text()
    assert up.stop(signal.SIGINT) == 130
    assert "Everything has stopped." in up.said()
    assert "Traceback" not in up.said()
    assert processes_of(up.data) == []

    again = Command("up", data=up.data, output=folder / "again")
    try:
        again.wait_until_it_says("Logs ")
        assert found(r"Admin .*password (\S+)", again.said()) == found(r"Admin .*password (\S+)", up.said())
        again.process.kill()
        again.process.wait(30)
        wait_for(lambda: processes_of(up.data) == [], what="the end of every process")
    finally:
        again.end()

    third = Command("up", data=up.data, output=folder / "third")
    try:
        third.wait_until_it_says("Logs ")
        assert (up.data / "service" / "api-token").read_text() == token
        assert third.stop(signal.SIGTERM) == 130
    finally:
        third.end()
    assert processes_of(up.data) == []


def test_it_stops_when_asked_although_nobody_reads_what_it_says(folder: Path) -> None:
    """A terminal that was closed, or `make up | head`."""
    data = folder / "unread"
    command = [sys.executable, "-m", "jobsched.local", "up", "--broker", "postgres", "--data", str(data)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("JOBSCHED_")}
    process = subprocess.Popen(
        command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        assert process.stdout
        assert process.stdout.readline().startswith(b"Data ")
        process.stdout.close()
        process.terminate()
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.wait()
    wait_for(lambda: processes_of(data) == [], what="the end of every process")


def test_without_rabbitmq_the_database_carries_the_messages(folder: Path) -> None:
    command = Command("up", "--broker", "postgres", data=folder / "pgmq", output=folder / "pgmq-output")
    try:
        command.wait_until_it_says("Logs ")
        assert "Broker  PostgreSQL (pgmq), because you asked for it" in command.said()
        assert "Flower  not started" in command.said()
        url = found(r"Web +(http://127\.0\.0\.1:\d+)/", command.said())
        client = Client(url, (command.data / "service" / "api-token").read_text())
        client.apply("jobs: [{name: Hello, run: echo hello}]")
        run = client.trigger("Hello")
        wait_for(lambda: client.run(run["id"])["state"] == "succeeded", what="a run over the database")
        assert command.stop() == 130
    finally:
        command.end()
