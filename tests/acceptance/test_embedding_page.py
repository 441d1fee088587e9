"""docs/django.md, followed literally in a new project: every block of "Step by step" is written or run as it stands."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from jobsched.local.ports import free_port
from tests.processes import wait_for
from tests.unrun import needs

REPOSITORY: Final = Path(__file__).resolve().parents[2]
PAGE: Final = REPOSITORY / "docs" / "django.md"
SECTION: Final = "## Step by step"
SERVERS: Final = ("celery -A shop worker", "celery -A shop beat", "python manage.py runserver")
"""Lines that start what stays; the page has each in a terminal of its own."""
_WEB: Final = "127.0.0.1:8000"
_BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE: Final = re.compile(r"# (\S+\.(?:py|yaml))(, at its end)?\n")


def blocks() -> list[tuple[str, str]]:
    """Return language and text of each block of the section, in order."""
    _, _, rest = PAGE.read_text().partition(f"{SECTION}\n")
    section, _, _ = rest.partition("\n## ")
    return _BLOCK.findall(section)


@dataclass
class Reader:
    """Somebody who does what the page says, in a folder, with values of their own in place of its addresses."""

    folder: Path
    env: dict[str, str]
    values: dict[str, str]
    """What the page exports, by name, as it is here."""
    port: int
    processes: ExitStack
    said: dict[str, str] = field(default_factory=dict)
    """What each command printed."""
    started: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    logs: list[Path] = field(default_factory=list)

    def write(self, text: str) -> None:
        """Write a file, or append to one."""
        found = _FILE.match(text)
        assert found, f"this block names no file in its first line:\n{text}"
        path = self.folder / found[1]
        with path.open("a" if found[2] else "w") as file:
            file.write(text)

    def do(self, line: str) -> None:
        """Run one line of a console."""
        line = line.replace(_WEB, f"127.0.0.1:{self.port}")
        if line == "pip install jobsched":
            return  # this environment has it
        if line.startswith("cd "):
            self.folder /= line.removeprefix("cd ")
        elif line.startswith("export "):
            for word in shlex.split(line)[1:]:
                name, _, value = word.partition("=")
                self.env[name] = self.values.get(name, value)
        elif line.startswith(SERVERS):
            self._start(line)
        else:
            self.said[line] = self._run(line)

    def _run(self, line: str) -> str:
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, f"$ {line}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _start(self, line: str) -> None:
        """Start what stays. What comes next needs the web process; jobs wait for the others by themselves."""
        log = self.folder / f"{SERVERS.index(next(start for start in SERVERS if line.startswith(start)))}.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {line}"], cwd=self.folder, env=self.env, stdout=output, stderr=subprocess.STDOUT
            )
        self.processes.callback(_end, process)
        self.started[line] = process
        self.logs.append(log)
        if "runserver" in line:
            wait_for(self._web_is_well, timeout=120, what="the web process")

    def without_a_token(self) -> tuple[int, dict[str, str]]:
        """Return status and body of what the API answers to a browser that is not signed in."""
        request = Request(f"http://127.0.0.1:{self.port}/api/v1/runs/", headers={"Accept": "text/html,*/*"})
        try:
            urlopen(request, timeout=30)
        except HTTPError as refused:
            return refused.code, json.loads(refused.read())
        raise AssertionError("the API answered without a token")

    def _web_is_well(self) -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture
def reader(broker_url: str, processes: ExitStack, tmp_path: Path) -> Iterator[Reader]:
    """A reader with an empty folder and an empty database."""
    if shutil.which("curl") is None:
        needs("curl", "`apt-get install curl` provides it")
    name = f"shop_{uuid4().hex[:8]}"
    server = urlsplit(os.environ["JOBSCHED_DATABASE_URL"])
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("JOBSCHED_", "DJANGO_", "PG"))}
    with psycopg.connect(server.geturl(), autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield Reader(
            folder=tmp_path,
            env={
                **inherited,
                "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
                "PYTHONPATH": str(REPOSITORY),
            },
            values={
                "PGHOST": server.hostname or "",
                "PGPORT": str(server.port),
                "PGDATABASE": name,
                "PGUSER": server.username or "",
                "PGPASSWORD": server.password or "",
                "SHOP_BROKER": broker_url,
            },
            port=free_port(),
            processes=processes,
        )
        processes.close()
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.mark.timeout(400)
def test_a_new_project_that_follows_the_page_performs_a_job(reader: Reader) -> None:
    for language, text in blocks():
        if language == "console":
            for line in text.splitlines():
                assert line.startswith("$ "), f"this line of a console block is no command: {line}"
                reader.do(line.removeprefix("$ "))
        else:
            reader.write(text)

    assert "hello from Hello" in reader.said["jobsched run Hello --follow"]
    [listed] = [output for line, output in reader.said.items() if line.startswith("curl")]
    [run] = json.loads(listed)["runs"]
    assert (run["job"], run["state"], run["attempt"]) == ("Hello", "succeeded", 1)
    # The project has no settings for REST framework, whose own would let anybody in and answer with pages.
    status, answer = reader.without_a_token()
    assert (status, list(answer)) == (401, ["error"])
    assert len(reader.started) == len(SERVERS)
    assert [line for line, process in reader.started.items() if process.poll() is not None] == []
    for log in reader.logs:
        assert "Traceback" not in log.read_text(), log.read_text()
    for secret in ("token", ".jobsched/admin-password"):
        assert stat.S_IMODE((reader.folder / secret).stat().st_mode) == 0o600
