"""The command itself: what needs no server."""

from __future__ import annotations

import json
import os
import re
import signal
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


@pytest.mark.parametrize(
    "command",
    [
        *("apply", "preview", "jobs", "run", "runs", "show", "logs", "cancel", "retry", "pause", "resume"),
        *("next", "fires", "backfill", "upcoming", "queues", "rate", "schema"),
    ],
)
def test_each_command_explains_itself(jobsched: Command, command: str) -> None:
    told = jobsched(command, "--help")
    assert told.returncode == 0
    assert told.stdout.startswith(f"Usage: jobsched {command}")


def test_ctrl_c_while_files_are_read_says_that_nothing_was_applied(tmp_path: Path) -> None:
    pipe = tmp_path / "jobs.yaml"
    os.mkfifo(pipe)
    applying = subprocess.Popen([*RUN, "apply", "-f", str(pipe)], stderr=subprocess.PIPE, text=True)
    with pipe.open("w"):  # waits until the command reads the file
        applying.send_signal(signal.SIGINT)
        _, notes = applying.communicate(timeout=60)
    assert applying.returncode == 130
    assert "Interrupted; nothing was applied.\n" in notes
    assert "Traceback" not in notes


def test_the_version_is_told(jobsched: Command) -> None:
    assert jobsched("--version").stdout.startswith("jobsched ")


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["cancel"], 2, "Name runs by their numbers, or describe them"),
        (["cancel", "1", "--job", "A"], 2, "Name runs, or describe them by options, but not both"),
        (["retry", "1", "--yes"], 2, "but not both"),
        (["retry", "--failed", "--state", "failed"], 2, "--failed says the states"),
        (["runs", "--state", "failed,asleep"], 2, "'asleep' is not a state; write one of scheduled, queued"),
        (["runs", "--since", "2h", "--from", "2026-11-01"], 2, "leave one out"),
        (["runs", "--from", "yesterday"], 2, "'yesterday' is not a moment"),
        (["jobs"], 1, "No running stack was found; start one with `make up`"),
        (["nonsense"], 2, "No such command"),
        (["show", "0"], 2, "0 is not in the range"),
        (["run", "A", "--param", "novalue"], 2, "'novalue' is not NAME=TEXT"),
        (["run", "A", "--params", "[1]"], 2, "a JSON object is needed"),
        (["run", "A", "--params", "{"], 2, "not JSON"),
        (["run", "A", "--follow", "--json"], 2, "do not go together"),
        (["logs", "1", "--follow", "--attempt", "1"], 2, "leave --attempt out"),
        (["run", "A", "--at", "tomorrow"], 2, "'tomorrow' is not a moment; write 2026-11-01, 2026-11-01T03:00 (UTC)"),
        (["fires", "A", "--from", "2026-11-01"], 2, "Missing option '--to'"),
        (["fires", "A", "--from", "2026-11-31", "--to", "2026-12-01"], 2, "'2026-11-31' is not a moment"),
        (["fires", "A", "--from", "2026-11-01", "--to", "2026-11-02", "--gaps", "--json"], 2, "do not go together"),
        (["backfill", "A", "--from", "0001-01-01T00:00+05:00", "--to", "2026-11-02"], 2, "is not a moment"),
        (["backfill", "A", "--from", "2026-11-01", "--to", "2026-11-02", "--max-running", "0"], 2, "not in the range"),
        (["upcoming", "--hours", "0"], 2, "not in the range"),
        (["runs", "--trigger", "magic"], 2, "'magic' is not one of"),
        (["rate", "default"], 2, "Missing argument 'RATE|none'"),
        (["preview", "-f", "nowhere.yaml"], 1, "nowhere.yaml: cannot be read: No such file or directory"),
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


NIGHTLY = """
jobs:
  - {name: Nightly, run: x, schedule: "30 2 * * *", timezone: Europe/Berlin, exclude: [01-01]}
  - {name: Ask, run: x}
"""
EXCLUDED = r"  20\d\d-01-01 01:30:00 UTC  20\d\d-01-01 02:30:00\+01:00  skipped, excluded: 01-01"
MOVED = r"  20\d\d-03-\d\d 01:00:00 UTC  20\d\d-03-\d\d 03:00:00\+02:00"
"""What its next fire is on New Year's Eve, and just before clocks go forward."""


@pytest.mark.parametrize("arguments", [["preview"], ["apply", "--dry-run"]], ids=" ".join)
def test_a_file_is_previewed_without_a_server(jobsched: Command, arguments: list[str]) -> None:
    told = jobsched(*arguments, "-f", "-", stdin=NIGHTLY)
    assert told.returncode == 0, told.stderr
    lines = told.stdout.splitlines()
    assert lines[0] == "Nightly: at 02:30 every day, Europe/Berlin"
    first = lines[2] if any(re.fullmatch(unusual, lines[1]) for unusual in (EXCLUDED, MOVED)) else lines[1]
    assert re.fullmatch(r"  20\d\d-\d\d-\d\d 0[01]:30:00 UTC  20\d\d-\d\d-\d\d 02:30:00\+0[12]:00", first)
    assert sum("does not exist in Europe/Berlin" in line for line in lines) in (2, 3)
    assert lines[-1] == "Ask: only on request"
    assert ("Nothing was applied: this was a check." in told.stderr) is (arguments[0] == "apply")


def test_a_preview_is_also_told_as_json(jobsched: Command) -> None:
    shown = json.loads(jobsched("preview", "-f", "-", "--count", "2", "--json", stdin=NIGHTLY).stdout)
    assert [(job["project"], job["name"], job["timezone"]) for job in shown] == [
        ("default", "Nightly", "Europe/Berlin"),
        ("default", "Ask", "UTC"),
    ]
    assert len(shown[0]["fires"]) == 2
    assert {warned["sentence"][:4] for warned in shown[0]["warnings"]} <= {str(year) for year in range(2026, 2100)}


def test_a_preview_of_a_wrong_file_tells_what_is_wrong_and_nothing_else(jobsched: Command) -> None:
    told = jobsched("preview", "-f", "-", stdin="jobs: [{name: A, run: x, schedule: 61 * * * *}]")
    assert (told.returncode, told.stdout) == (1, "")
    assert "standard input:1: job 'A', key 'schedule'" in told.stderr
    assert "applied" not in told.stderr


def test_the_schema_is_printed(jobsched: Command) -> None:
    assert "jobs" in json.loads(jobsched("schema").stdout)["properties"]


class TestFiles:
    def test_all_problems_of_all_files_are_told_one_a_line(self, tmp_path: Path) -> None:
        for name, text in (("a.yaml", "jobs: []"), ("b.yaml", GOOD), ("c.yaml", "- A")):
            (tmp_path / name).write_text(text)
        with pytest.raises(InvalidInput) as raised:
            read_all([str(tmp_path / name) for name in ("a.yaml", "b.yaml", "c.yaml")])
        lines = str(raised.value).splitlines()
        assert len(lines) == 2
        assert "a.yaml" in lines[0]
        assert "c.yaml" in lines[1]

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
