"""A stack that root starts where only root may enter: its processes are others' and still read what they need."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from jobsched.client import Client
from jobsched.local.account import PROJECT
from jobsched.local.state import DataFolder
from jobsched.shim.users import job_uids, service_user
from tests.acceptance.commands import Command
from tests.processes import wait_for
from tests.unrun import needs_root

pytestmark = [
    pytest.mark.timeout(400),
    needs_root("only root has folders that only root may enter"),
]
JOBS = """
jobs:
  - name: Look
    run: |
      echo "user $(id -u)"
      python3 -c 'import sys; print("python", sys.base_prefix)'
      for file in secrets.json stack.json service/api-token log/web.log; do
        cat "$DATA/$file" 2>/dev/null && echo "read $file"
      done
      ls "$DATA" "$DATA/output" "$DATA/postgres" 2>/dev/null && echo "listed"
      touch "$DATA/output/mine" 2>/dev/null && echo "wrote"
      true
    env: {DATA: DATA_FOLDER}
  - {name: Call, call: "examples.callables:word_count", params: {text: one two}}
"""


@pytest.fixture(params=["umask 022", "umask 077"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A closed folder with a checkout and a virtual environment, made with this umask."""
    home = tmp_path / "home"
    home.mkdir()
    left_out = shutil.ignore_patterns(".*", "__pycache__", "results", "*.egg-info")
    shutil.copytree(PROJECT, home / "checkout", ignore=left_out)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home / "venv"], check=True, timeout=60)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(home / "venv")}))
    (packages / "packages.pth").write_text(sysconfig.get_path("purelib"))
    if request.param == "umask 077":
        subprocess.run(["chmod", "-R", "go=", home], check=True)
    for folder in (home, home / "checkout"):
        folder.chmod(0o700)
    return home


@pytest.fixture
def up(home: Path) -> Iterator[Command]:
    data = home / "checkout" / ".jobsched"
    command = Command(
        "up",
        *("--broker", "postgres", "--concurrency", "1"),
        data=data,
        output=home / "output",
        python=home / "venv" / "bin" / "python",
        cwd=home / "checkout",
        path=f"{home / 'venv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
    )
    try:
        command.wait_until_it_says("Logs ")
        yield command
    finally:
        command.end()


def test_the_stack_works_for_users_who_may_not_enter(up: Command) -> None:
    user = service_user(os.environ)
    assert user is not None
    of_root = []
    for process in psutil.Process(up.process.pid).children(recursive=True):
        uids = set(process.uids())
        assert uids in ({0}, {user.uid}), process.cmdline()
        if uids == {0}:
            of_root.append(" ".join(process.cmdline()))
    supervisor = [line for line in of_root if "jobsched.local" in line]
    launchers = [line for line in of_root if "celery" in line and "worker" in line]
    assert sorted(of_root) == sorted(supervisor + launchers), "these need not be root"
    assert len(launchers) == 1

    stack = DataFolder(up.data).stack()
    assert stack is not None
    client = Client(stack.url, stack.token)
    client.apply(JOBS.replace("DATA_FOLDER", str(up.data)))
    runs = {name: client.trigger(name)["id"] for name in ("Look", "Call")}
    for name, run in runs.items():
        wait_for(lambda run=run: client.run(run)["state"] == "succeeded", timeout=60, what=f"the run of {name}")
    look = client.output(runs["Look"])["output"].splitlines()
    assert int(look[0].removeprefix("user ")) in job_uids(os.environ)
    assert look[1:] == [f"python {sys.base_prefix}"]
    assert client.run(runs["Call"])["attempts"][0]["result"]["words"] == 2
