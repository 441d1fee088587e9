"""Nothing outlives a confined piece of work, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.processes import wait_for

MODES = pytest.mark.parametrize("namespace", [None, False], ids=["as the kernel allows", "without a namespace"])

SCRIPT = """
import subprocess, sys, time
from pathlib import Path
from jobsched.local.confine import confined, listen

mode, marker, ready, ending = sys.argv[1:]

def work():
    listen()
    # A process in a session of its own, orphaned at once: neither its group nor its parent leads to it.
    subprocess.run(["bash", "-c", f"setsid bash -c 'exec -a {marker} sleep 600' & exit"])
    Path(ready).write_text("ready")
    while ending == "wait":
        time.sleep(0.05)
    return int(ending)

sys.exit(confined(work, namespace=None if mode == "None" else False))
"""


class Confined:
    def __init__(self, folder: Path, *, namespace: bool | None, ending: str) -> None:
        self.marker = f"marker-{uuid.uuid4().hex}"
        self.ready = folder / "ready"
        arguments = [str(namespace), self.marker, str(self.ready), ending]
        self.process = subprocess.Popen([sys.executable, "-c", SCRIPT, *arguments])

    def has_left_something(self) -> bool:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:
                continue
            if words[0] == self.marker.encode():
                return True
        return False

    def wait_until_started(self) -> None:
        wait_for(lambda: self.ready.exists() and self.has_left_something(), what="a process to be left behind")


@MODES
def test_exit_status_of_the_work_is_passed_on_and_its_orphans_are_ended(tmp_path: Path, namespace: bool | None) -> None:
    confined = Confined(tmp_path, namespace=namespace, ending="7")
    assert confined.process.wait(30) == 7
    wait_for(lambda: not confined.has_left_something(), what="the orphan to be ended")


@MODES
def test_a_kill_of_the_outer_process_leaves_nothing(tmp_path: Path, namespace: bool | None) -> None:
    confined = Confined(tmp_path, namespace=namespace, ending="wait")
    confined.wait_until_started()
    if namespace is False:
        # Without a namespace the work is asked to end, and ends its children itself: here nothing does that.
        children = Path(f"/proc/{confined.process.pid}/task/{confined.process.pid}/children")
        work = int(children.read_text().split()[0])
        os.kill(work, signal.SIGKILL)
    else:
        confined.process.kill()
    confined.process.wait(30)
    wait_for(lambda: not confined.has_left_something(), what="the orphan to be ended")


@MODES
def test_signals_reach_the_work(tmp_path: Path, namespace: bool | None) -> None:
    confined = Confined(tmp_path, namespace=namespace, ending="wait")
    confined.wait_until_started()
    confined.process.terminate()
    assert confined.process.wait(30) == 128 + signal.SIGTERM
    wait_for(lambda: not confined.has_left_something(), what="the orphan to be ended")


@MODES
def test_a_signal_that_is_to_be_ignored_does_not_reach_the_work(tmp_path: Path, namespace: bool | None) -> None:
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        confined = Confined(tmp_path, namespace=namespace, ending="wait")
    finally:
        signal.signal(signal.SIGHUP, before)
    confined.wait_until_started()
    confined.process.send_signal(signal.SIGHUP)
    confined.process.terminate()
    assert confined.process.wait(30) == 128 + signal.SIGTERM


def test_what_is_to_end_with_its_parent_is_told_when_that_is_killed(tmp_path: Path) -> None:
    script = "import os, signal; from jobsched.local.confine import end_with; end_with(os.getppid())"
    child = f"{script}; print('ready', flush=True); signal.pause()"
    parent = subprocess.Popen(["bash", "-c", f'{sys.executable} -c "{child}"; true'], stdout=subprocess.PIPE)
    assert parent.stdout
    assert parent.stdout.readline() == b"ready\n"
    parent.kill()
    assert parent.wait(30) == -signal.SIGKILL
    assert parent.stdout.read() == b"", "the pipe closes when the child has ended"


def test_what_has_lost_its_parent_already_ends_at_once() -> None:
    script = "from jobsched.local.confine import end_with; end_with(2**22 + 1); print('still here')"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=30)
    assert (found.returncode, found.stdout) == (-signal.SIGTERM, b"")
