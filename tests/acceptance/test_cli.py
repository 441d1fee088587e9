"""The `jobsched` command against a real server, and with real workers where a run is to be followed."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from knox.models import AuthToken

from jobs.models import Job, Project, Run, Schedule
from tests.processes import Process, wait_for

RUN = [sys.executable, "-c", "from jobsched.cli import main; main()"]
JOBS = """
jobs:
  - name: Nightly
    schedule: "0 2 * * *"
    run: ./cleanup
  - name: Greet
    run: echo "hello $JOBSCHED_RUN_ID"
"""


class Terminal:
    """The command as a person has it: in a folder, with a server named in the environment."""

    def __init__(self, env: dict[str, str], folder: Path, processes: ExitStack) -> None:
        self.folder = folder
        self._env = env
        self._processes = processes

    def __call__(self, *arguments: object, status: int = 0) -> str:
        """Run the command to its end and return what it printed; its status must be `status`."""
        told = self.both(*arguments, status=status)
        return told.stdout if status == 0 else told.stdout + told.stderr

    def both(self, *arguments: object, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Do the same and return the two streams apart."""
        told: subprocess.CompletedProcess[str] = subprocess.run(
            self._line(*arguments), capture_output=True, text=True, timeout=90, **self._how
        )
        assert told.returncode == status, told.stderr
        assert "Traceback" not in told.stderr
        return told

    def json(self, *arguments: object) -> Any:
        return json.loads(self(*arguments, "--json"))

    def start(self, *arguments: object, **options: Any) -> subprocess.Popen[bytes]:
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return self._processes.enter_context(ended(subprocess.Popen(self._line(*arguments), **options, **self._how)))

    @property
    def _how(self) -> dict[str, Any]:
        return {"cwd": self.folder, "env": self._env}

    @staticmethod
    def _line(*arguments: object) -> list[str]:
        return [*RUN, *(str(argument) for argument in arguments)]


class ended:
    """A process that does not outlive the test."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def __enter__(self) -> subprocess.Popen[bytes]:
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def jobsched(start_web: Callable[..., Process], processes: ExitStack, tmp_path: Path) -> Terminal:
    Project.objects.get_or_create(name="default")
    token = AuthToken.objects.create(User.objects.create_superuser("ann"))[1]
    env = {name: value for name, value in os.environ.items() if not name.startswith("JOBSCHED_")}
    env |= {
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "JOBSCHED_URL": start_web().url,
        "JOBSCHED_TOKEN": token,
    }
    return Terminal(env, tmp_path, processes)


@pytest.fixture
def worked(jobsched: Terminal, start_worker: Callable[..., Process]) -> Iterator[Terminal]:
    """A terminal whose runs are performed."""
    start_worker(concurrency=2)
    yield jobsched


def make(jobsched: Terminal, name: str, **keys: object) -> None:
    path = jobsched.folder / "job.yaml"
    path.write_text(json.dumps({"jobs": [{"name": name, **keys}]}))
    jobsched("apply", "-f", path)


def read_until(stream: Any, wanted: bytes) -> bytes:
    """Read a process's output as it comes. The test's own time limit ends a wait for what never comes."""
    seen = b""
    while wanted not in seen:
        chunk = os.read(stream.fileno(), 65536)
        assert chunk, f"ended before {wanted!r}: {seen!r}"
        seen += chunk
    return seen


def test_jobs_are_applied_listed_paused_requested_and_cancelled(jobsched: Terminal) -> None:
    path = jobsched.folder / "jobs.yaml"
    path.write_text(JOBS)

    assert jobsched("apply", "-f", path).splitlines() == ["created    Nightly", "created    Greet"]
    path.write_text(JOBS.replace("./cleanup", "./clean"))
    assert jobsched("apply", "-f", path).splitlines() == ["updated    Nightly", "unchanged  Greet"]

    path.write_text(JOBS.replace("Greet", "New").replace("0 2 ", "61 2 "))
    refused = jobsched("apply", "-f", path, status=1)
    assert "jobs.yaml:4: job 'Nightly', key 'schedule'" in refused
    assert not Job.objects.filter(name="New").exists()
    path.write_text(JOBS.replace("Greet", "New") + "    queue: nowhere\n")
    assert "'nowhere'" in jobsched("apply", "-f", path, status=1), "what only the server knows is refused there"
    assert not Job.objects.filter(name="New").exists()

    assert "Nightly" in jobsched("jobs")
    assert [job["name"] for job in jobsched.json("jobs")] == ["Greet", "Nightly"]
    jobsched("pause", "Nightly")
    assert jobsched.json("jobs")[1]["paused"] is True
    jobsched("resume", "Nightly")
    assert jobsched.json("jobs")[1]["paused"] is False
    assert jobsched("next", "Nightly", "--count", 2).count("02:00:00 UTC") == 2
    assert "There is no job 'Nope'" in jobsched("next", "Nope", status=1)

    number = jobsched.json("run", "Greet", "--param", "a=1", "--params", '{"b": 2}', "--priority", 9)["id"]
    waiting = jobsched.json("show", number)
    assert (waiting["params"], waiting["priority"], waiting["state"]) == ({"a": "1", "b": 2}, 9, "queued")
    later = jobsched("run", "Greet", "--at", "2126-12-01T03:00")
    assert "is scheduled, not before 2126-12-01 03:00:00 UTC" in later
    assert jobsched("logs", number) == ""
    assert jobsched("cancel", number) == f"run {number}: cancelled\n"
    assert "already ended" in jobsched("cancel", number, status=1)
    retried = jobsched("retry", number)
    assert "of Greet is queued" in retried
    assert [run["state"] for run in jobsched.json("runs", "--job", "Greet")] == ["queued", "scheduled", "cancelled"]
    assert [run["id"] for run in jobsched.json("runs", "--state", "cancelled")] == [number]
    table = jobsched("runs", "--limit", 1)
    assert table.split("\n", 1)[0].split() == [
        *("run", "job", "state", "attempt", "created", "(UTC)", "took", "ended", "with", "reason")
    ]
    assert f"run {number} of Greet: cancelled" in jobsched("logs", number, "--follow", status=1)


def test_applying_warns_of_clock_changes_and_a_check_sends_nothing(jobsched: Terminal) -> None:
    path = jobsched.folder / "jobs.yaml"
    path.write_text('jobs: [{name: Nightly, run: x, schedule: "30 2 * * *", timezone: Europe/Berlin}]')

    checked = jobsched.both("apply", "--dry-run", "-f", path)
    assert checked.stdout.startswith("Nightly: at 02:30 every day, Europe/Berlin\n")
    assert not Job.objects.exists()

    applied = jobsched.both("apply", "-f", path)
    assert applied.stdout == "created    Nightly\n"
    assert f"{path}: job 'Nightly': " in applied.stderr
    assert "does not exist in Europe/Berlin (clocks go forward)" in applied.stderr
    assert "does not exist in Europe/Berlin" in jobsched("next", "Nightly")


def test_the_past_is_accounted_for_and_made_up_for_and_the_future_foretold(
    worked: Terminal, start_beat: Callable[..., Process]
) -> None:
    make(worked, "Hourly", schedule="0 * * * *", run="echo $JOBSCHED_SCHEDULED_FOR")
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    period = ("--from", f"{end - timedelta(hours=4):%Y-%m-%dT%H:%M}", "--to", f"{end:%Y-%m-%dT%H:%M}")
    began = end - timedelta(hours=6)
    Schedule.objects.update(anchor=began, cursor=began)
    start_beat()

    def accounted() -> Any:
        told = worked.json("fires", "Hourly", *period)
        return told if told["counts"]["skipped"] == 5 else None

    told = wait_for(accounted, what="what was missed is told")
    assert told["counts"] == {"run": 0, "skipped": 5, "owed": 0, "unexplained": 0}
    assert worked("fires", "Hourly", *period, "--gaps").count("skipped") == 11

    assert worked("backfill", "Hourly", *period, "--dry-run").startswith("5 runs would be made for 5 instants; 0 ")
    assert worked("backfill", "Hourly", *period, "--max-running", 1).startswith("5 runs made for 5 instants; 0 ")
    assert worked.json("backfill", "Hourly", *period) == {
        "id": None,
        "instants": 5,
        "made": 0,
        "already": 5,
        "excluded": 0,
    }

    def all_succeeded() -> Any:
        runs = worked.json("runs", "--trigger", "backfill")
        return runs if {run["state"] for run in runs} == {"succeeded"} else None

    runs = wait_for(all_succeeded, timeout=90, what="the backfill was run")
    assert worked("logs", runs[0]["id"]).startswith(f"{end:%Y-%m-%dT%H:%M}")
    assert worked.json("fires", "Hourly", *period)["counts"]["run"] == 5
    assert "unexplained" in worked("fires", "Hourly", *period, "--gaps").splitlines()[0], "only the counts are left"

    Run.objects.filter(pk=runs[0]["id"]).update(schedule=None)
    Run.objects.filter(state="skipped").delete()
    gap = worked("fires", "Hourly", *period, "--gaps", status=1)
    assert f"{end:%Y-%m-%d %H:%M:%S}  unexplained" in gap
    assert "1 unexplained: the record does not tell what became of them." in gap

    fires = worked.json("upcoming", "--hours", 3)
    assert [fire["job"] for fire in fires] == ["Hourly"] * 3
    assert worked("upcoming", "--hours", 3).count("Hourly") == 3
    assert worked("upcoming", "--project", "elsewhere").splitlines()[1:] == []


def test_rates_of_queues_are_shown_and_set(jobsched: Terminal) -> None:
    make(jobsched, "Noop", run="true")
    assert jobsched("rate", "default", "1/d") == "default: at most 1/d; 0 waiting runs, 0 held\n"
    for _ in range(2):
        jobsched("run", "Noop")
    assert jobsched.json("queues") == [{"name": "default", "rate": "1/d", "waiting": 2, "held": 1}]
    assert "1/d" in jobsched("queues")
    assert "held" in jobsched("show", jobsched.json("runs")[0]["id"])
    assert jobsched("rate", "default", "none") == "default: no rate; 2 waiting runs, 0 held\n"
    assert "'fast' is not a rate" in jobsched("rate", "default", "fast", status=1)
    assert "There is no queue 'nowhere'" in jobsched("rate", "nowhere", "1/s", status=1)


def test_a_run_is_followed_live_until_it_succeeds(worked: Terminal) -> None:
    go_on = worked.folder / "go-on"
    make(worked, "Slow", run=f"echo first; until [ -e {go_on} ]; do sleep 0.05; done; echo second >&2")

    following = worked.start("run", "Slow", "--follow")
    seen = read_until(following.stdout, b"first\n")
    assert b"second" not in seen, "it was shown before the job went on"
    go_on.touch()
    rest, notes = following.communicate(timeout=60)

    assert (seen + rest).decode() == "first\nsecond\n"
    assert following.returncode == 0
    assert "Slow: succeeded after" in notes.decode().splitlines()[-1]
    number = worked.json("runs")[0]["id"]
    assert worked("logs", number) == "first\nsecond\n"
    story = worked("show", number)
    assert "succeeded" in story
    assert "history" in story


def test_following_goes_through_every_attempt_and_fails_with_the_run(
    worked: Terminal, start_beat: Callable[..., Process]
) -> None:
    start_beat()
    make(worked, "Fails", run="echo attempt $JOBSCHED_ATTEMPT; exit 3", retries={"max": 1, "backoff": "500ms"})
    shown = worked("run", "Fails", "--follow", status=1)
    assert "attempt 1\nattempt 2\n" in shown
    last = shown.splitlines()[-1]
    assert "Fails: failed" in last
    assert "attempt 2" in last


def test_a_run_that_left_processes_running_shows_a_warning(worked: Terminal) -> None:
    make(worked, "Leaves", run="sleep 600 &")
    make(worked, "Refuses", run="sleep 600 &", background="fail")
    warning = "warning: 1 process was still running when the work ended, and killed: sleep"
    worked("run", "Leaves", "--follow")
    assert warning in worked("runs", "--job", "Leaves", "--state", "succeeded")
    assert warning in worked("show", worked.json("runs", "--job", "Leaves")[0]["id"])
    assert "(background: fail)" in worked("run", "Refuses", "--follow", status=1)
    assert len(worked.json("runs", "--error", "BackgroundKilled")) == 1


def test_ctrl_c_stops_following_and_not_the_run(worked: Terminal) -> None:
    go_on = worked.folder / "go-on"
    make(worked, "Slow", run=f"echo first; until [ -e {go_on} ]; do sleep 0.05; done")
    following = worked.start("run", "Slow", "--follow")
    read_until(following.stdout, b"first\n")

    following.send_signal(signal.SIGINT)
    _, notes = following.communicate(timeout=60)

    assert following.returncode == 130
    number = worked.json("runs")[0]["id"]
    assert f"run {number} goes on" in notes.decode()
    assert "Traceback" not in notes.decode()
    assert worked.json("show", number)["state"] == "running"

    told = worked("cancel", number)
    assert told.startswith(f"run {number}: asked to end: the request is recorded; its worker ")
    assert "at its next heartbeat at the latest (every " in told
    cancelled = wait_for(lambda: worked.json("runs", "--state", "cancelled"), what="the run was cancelled")
    assert cancelled[0]["id"] == number
    receipt = worked("show", number)
    assert re.search(r"cancel requested by +ann\b", receipt)
    assert re.search(r"processes that were ended\n.*\n *1 +\d+ +sh +signal 15 \(SIGTERM\)", receipt), receipt


def test_a_reader_who_leaves_early_gets_no_trace(worked: Terminal) -> None:
    make(worked, "Talks", run="seq 1 200000")
    worked("run", "Talks", "--follow")
    number = worked.json("runs")[0]["id"]

    printing = worked.start("logs", number)
    assert printing.stdout is not None and printing.stderr is not None
    assert os.read(printing.stdout.fileno(), 10).startswith(b"1\n2\n")
    printing.stdout.close()

    assert printing.stderr.read() == b""
    assert printing.wait(timeout=60) == 1


def test_output_cannot_command_the_terminal_but_reaches_a_pipe_as_it_is(worked: Terminal) -> None:
    raw = "\x1b]0;owned\x07\x1b[31mred\x1b[0m\n"
    make(worked, "Paints", run="printf '\\033]0;owned\\007\\033[31mred\\033[0m\\n'")
    worked("run", "Paints", "--follow")
    number = worked.json("runs")[0]["id"]
    assert worked("logs", number) == raw

    master, slave = pty.openpty()
    try:
        printing = worked.start("logs", number, stdout=slave)
        assert printing.wait(timeout=60) == 0
        os.set_blocking(master, False)
        assert os.read(master, 65536) == b"red\r\n"
    finally:
        os.close(master)
        os.close(slave)
