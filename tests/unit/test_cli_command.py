"""The command itself: what needs no server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jobsched.cli.files import read_all
from jobsched.domain.errors import InvalidInput
from jobsched.domain.yamltree import MOST_BYTES

RUN = [sys.executable, "-c", "from jobsched.cli import main; main()"]
Command = Callable[..., subprocess.CompletedProcess[str]]
GOOD = "jobs: [{name: A, run: 'true'}]\n"


@pytest.fixture
def jobsched(tmp_path: Path) -> Command:
    """Run the command in an empty folder, with nothing in the environment that names a server."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("JOBSCHED_")}
    env["PYTHONPATH"] = str(Path(__file__).parents[2])

    def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*RUN, *arguments], cwd=tmp_path, env=env, input=stdin, capture_output=True, text=True, timeout=60
        )

    return run


def test_help_needs_nothing_heavy() -> None:
    """Measured by what is imported, not by a clock: this is what the time goes to."""
    code = (
        "import sys; from jobsched.cli import main; sys.argv = ['jobsched', '--help']\n"
        "try: main()\n"
        "finally: print({'rich', 'urllib3', 'pydantic', 'yaml', 'django', 'celery'} & set(sys.modules))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert told.stdout.endswith("set()\n")
    assert "follow" not in told.stderr


@pytest.mark.parametrize("command", ["apply", "jobs", "run", "runs", "show", "logs", "cancel", "retry", "next"])
def test_each_command_explains_itself(jobsched: Command, command: str) -> None:
    told = jobsched(command, "--help")
    assert told.returncode == 0
    assert told.stdout.startswith(f"Usage: jobsched {command}")


def test_the_version_is_told(jobsched: Command) -> None:
    assert jobsched("--version").stdout.startswith("jobsched ")


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["jobs"], 1, "No running stack was found; start one with `make up`"),
        (["nonsense"], 2, "No such command"),
        (["show", "0"], 2, "0 is not in the range"),
        (["run", "A", "--param", "novalue"], 2, "'novalue' is not NAME=TEXT"),
        (["run", "A", "--params", "[1]"], 2, "a JSON object is needed"),
        (["run", "A", "--params", "{"], 2, "not JSON"),
        (["run", "A", "--follow", "--json"], 2, "do not go together"),
        (["logs", "1", "--follow", "--attempt", "1"], 2, "leave --attempt out"),
        (["apply", "-f", "nowhere.yaml"], 1, "nowhere.yaml: cannot be read: No such file or directory"),
        (["apply", "-f", "."], 1, ".: cannot be read: Is a directory"),
    ],
)
def test_what_cannot_be_done_is_said_without_a_trace(
    jobsched: Command, arguments: list[str], status: int, sentence: str
) -> None:
    told = jobsched(*arguments)
    assert told.returncode == status, told.stderr
    assert sentence in told.stderr
    assert "Traceback" not in told.stderr
    assert told.stdout == ""


def test_a_server_that_is_away_has_a_status_of_its_own(jobsched: Command, tmp_path: Path) -> None:
    (tmp_path / ".jobsched").mkdir()
    (tmp_path / ".jobsched" / "stack.json").write_text(json.dumps({"url": "http://127.0.0.1:1", "token": "secret"}))
    told = jobsched("jobs")
    assert told.returncode == 3
    assert told.stderr.count("\n") == 1
    assert "cannot be reached" in told.stderr
    assert "secret" not in told.stderr


def test_files_are_checked_before_a_server_is_looked_for(jobsched: Command) -> None:
    told = jobsched("apply", "-f", "-", stdin="jobs: [{name: A, run: x, scedule: 90s}]")
    assert told.returncode == 1
    assert "standard input:1: job 'A', key 'scedule'" in told.stderr
    assert "Nothing was applied." in told.stderr


def test_the_schema_is_printed(jobsched: Command) -> None:
    assert "jobs" in json.loads(jobsched("schema").stdout)["properties"]


class TestFiles:
    def test_all_problems_of_all_files_are_told_one_a_line(self, tmp_path: Path) -> None:
        for name, text in (("a.yaml", "jobs: []"), ("b.yaml", GOOD), ("c.yaml", "- A")):
            (tmp_path / name).write_text(text)
        with pytest.raises(InvalidInput) as raised:
            read_all([str(tmp_path / name) for name in ("a.yaml", "b.yaml", "c.yaml")])
        lines = str(raised.value).splitlines()
        assert len(lines) == 3
        assert "a.yaml" in lines[0]
        assert "c.yaml" in lines[1]
        assert lines[2] == "Nothing was applied."

    def test_a_job_may_stand_in_one_file_only(self, tmp_path: Path) -> None:
        for name in ("a.yaml", "b.yaml"):
            (tmp_path / name).write_text(GOOD)
        with pytest.raises(InvalidInput, match=r"b\.yaml: job 'A' stands in .*a\.yaml already"):
            read_all([str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")])

    def test_a_file_that_is_too_large_is_not_read_to_its_end(self, tmp_path: Path) -> None:
        huge = tmp_path / "huge.yaml"
        with huge.open("wb") as file:
            file.truncate(MOST_BYTES * 10_000)  # sparse: reading it all would take 10 GB of memory
        with pytest.raises(InvalidInput, match="1 MiB"):
            read_all([str(huge)])
