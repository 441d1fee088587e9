"""Work that the kernel kills because memory ran out has another error than work that a person kills.

Needs root and a memory control group of version 1 or 2 that this process may make groups in.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobsched.domain.outcomes import Assignment, Outcome, Verdict
from jobsched.engine.memory import MemoryKills
from tests.engine_kit import assignment, call, shell
from tests.unrun import needs

LIMIT_BYTES = 192 * 1024 * 1024
HOG = "exec tail /dev/zero"
WORKER = """
import json, sys, tempfile
from pathlib import Path

Path(sys.argv[1], "cgroup.procs").write_text("0")

from jobsched import callables
from jobsched.allowed_modules import AllowedModules
from jobsched.domain.outcomes import Assignment
from jobsched.engine import Slot
from jobsched.shim.lease import lease_clock
from tests.engine_kit import ScriptedWatch

callables.allow(lambda: AllowedModules(names=("tests",)))
work = Assignment.from_json(json.load(sys.stdin))
with tempfile.TemporaryDirectory() as folder, Slot(workspace_dir=Path(folder)) as slot:
    outcome = slot.perform(work, ScriptedWatch(), deadline=lease_clock() + 60).outcome
print(json.dumps(outcome.to_json()))
"""


@pytest.fixture
def group() -> Iterator[Path]:
    """A memory control group below that of this process, with a limit."""
    file = MemoryKills.of_this_process().file
    version_1 = file is not None and file.name == "memory.oom_control"
    version_2 = file is not None and file.name == "memory.events"
    if file is None or os.geteuid() != 0 or not (version_1 or version_2):
        needs("memory-cgroup", "root, and a cgroup file system that can be written to")
    made = file.parent / f"jobsched-test-{os.getpid()}"
    try:
        made.mkdir()
        (made / ("memory.limit_in_bytes" if version_1 else "memory.max")).write_text(str(LIMIT_BYTES))
    except OSError as error:
        if made.exists():
            made.rmdir()
        needs("memory-cgroup", f"it cannot be made here ({error})")
    try:
        swap = made / ("memory.memsw.limit_in_bytes" if version_1 else "memory.swap.max")
        if swap.exists():
            swap.write_text(str(LIMIT_BYTES) if version_1 else "0")
        yield made
    finally:
        made.rmdir()


def performed(work: Assignment, group: Path) -> Outcome:
    """Perform work by a slot of its own that is in the control group."""
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(group)],
        input=json.dumps(work.to_json()),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return Outcome.from_json(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "work",
    [
        pytest.param(shell(HOG), id="shell"),
        pytest.param(shell(f"sh -c '{HOG}'; exit $?"), id="a command of a shell"),
        pytest.param(assignment("steps", {"steps": [{"name": "hog", "run": HOG}]}), id="steps"),
        pytest.param(call("fill_memory"), id="callable"),
    ],
)
def test_work_that_is_killed_for_memory_says_so(work: Assignment, group: Path) -> None:
    outcome = performed(work, group)
    assert (outcome.verdict, outcome.signal, outcome.exit_code) == (Verdict.FAILED, 9, 137)
    assert outcome.error == "OOMKilled"
    assert "out of memory: the kernel killed a process of this worker meanwhile" in outcome.reason


def test_work_that_somebody_kills_was_not_short_of_memory(group: Path) -> None:
    outcome = performed(shell("kill -s KILL $$"), group)
    assert (outcome.signal, outcome.exit_code, outcome.error) == (9, 137, None)
