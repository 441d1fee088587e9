"""`make up` that cannot start ends in one sentence, and works again once its cause is gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobsched.local.account import PROJECT
from jobsched.local.servers import postgres
from tests.acceptance.commands import Command, processes_of
from tests.chaos.small_disk import small_disk
from tests.unrun import needs_root

pytestmark = pytest.mark.timeout(300)


def ended(command: Command) -> str:
    """Wait until the command has failed, and return the one line in which it says why."""
    try:
        assert command.process.wait(180) == 1, command.said()
    finally:
        command.end()
    [line] = [line for line in command.said().splitlines() if line.startswith("Error: ")]
    assert command.said().rstrip().endswith(line)
    assert "Traceback" not in command.said()
    assert processes_of(command.data) == []
    return line


def works(command: Command) -> None:
    try:
        command.wait_until_it_says("Logs ")
        assert command.stop() == 130
    finally:
        command.end()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with an empty database."""
    data = tmp_path_factory.mktemp("template") / "data"
    with postgres(data):
        pass
    return data


def copied(template: Path, data: Path) -> None:
    """Copy a data folder with owners and modes."""
    subprocess.run(["cp", "-a", str(template), str(data)], check=True)


@needs_root("only root can make a small disk")
def test_a_disk_that_fills_during_migration(template: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", megabytes=120) as disk:
        data = disk.folder / "data"
        copied(template, data)
        ballast = disk.folder / "ballast"
        room = os.statvfs(disk.folder)
        ballast.write_bytes(bytes(room.f_bavail * room.f_frsize - 2 * 1024 * 1024))
        line = ended(Command("up", "--broker", "postgres", data=data, output=tmp_path / "first"))
        assert line.startswith(f"Error: The disk of {data} is full: make room on it and run the command again")
        ballast.unlink()
        works(Command("up", "--broker", "postgres", data=data, output=tmp_path / "second"))


@needs_root("only root can make a small disk")
def test_a_disk_that_is_too_small_for_a_database(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", megabytes=20) as disk:
        data = disk.folder / "data"
        line = ended(Command("up", "--broker", "postgres", data=data, output=tmp_path / "first"))
        assert line.startswith(f"Error: The disk of {data} is full: make room on it and run the command again")


def test_what_a_killed_first_start_left_is_made_anew(tmp_path: Path) -> None:
    """initdb that is killed leaves data with which PostgreSQL would start and never be ready."""
    data = tmp_path / "data"
    fresh = data / "postgres" / "data.new"
    (fresh / "global").mkdir(parents=True)
    (fresh / "global" / "pg_control").write_bytes(b"half")
    with postgres(data) as server:
        assert server.pid
    assert not fresh.exists()


def test_data_of_another_version_of_postgresql(template: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    copied(template, data)
    (data / "postgres" / "data" / "PG_VERSION").write_text("15\n")
    line = ended(Command("up", "--broker", "postgres", data=data, output=tmp_path / "output"))
    assert line.startswith(f"Error: The data in {data}/postgres/data was made by PostgreSQL 15, and PostgreSQL ")


def test_a_server_that_cannot_be_reached(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("JOBSCHED_")}
    done = subprocess.run(
        [sys.executable, "-m", "jobsched.local", "up", "--broker", "postgres", "--data", str(tmp_path / "data")],
        env={**env, "JOBSCHED_DATABASE_URL": "postgres://u:p@127.0.0.1:1/x"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("Error: migrate failed (exit code 1): ")
    assert "PostgreSQL cannot be asked: connection failed" in line


def test_the_command_line_finds_a_stack_with_a_data_folder_of_its_own(tmp_path: Path) -> None:
    """By --data from anywhere, and by itself in the folder where the stack was started."""
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    command = Command("up", "--broker", "postgres", data=elsewhere, output=tmp_path / "output", cwd=home, path=None)
    try:
        command.wait_until_it_says("Logs ")
        [shown] = [line for line in command.said().splitlines() if line.startswith("Command ")]
        words = shown.removeprefix("Command").split()
        assert words[1:] == ["--data", str(elsewhere), "jobs"]
        assert jobsched(*words[1:], "--json", cwd=tmp_path) == []
        assert jobsched("jobs", "--json", cwd=home) == []
        assert command.stop() == 130
    finally:
        command.end()
    assert not (home / ".jobsched" / "elsewhere").exists()


def jobsched(*words: str, cwd: Path) -> object:
    """Run the command line with no server in its environment, and return what it answers as JSON."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("JOBSCHED_")}
    program = "from jobsched.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=cwd,
        env={**env, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
