"""Beat, web and Flower that root starts directly give up root by themselves."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from jobsched.local.parts import Parts
from jobsched.local.ports import free_port
from jobsched.local.service import Service
from jobsched.shim.users import service_user
from tests.processes import Process, wait_for
from tests.unrun import needs_root

pytestmark = needs_root("only root can give up root")


def statuses(process: Process) -> Iterator[tuple[int, dict[str, str]]]:
    """Read what the kernel says of a process and all its descendants."""
    for pid in (process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        yield pid, dict(line.split(":\t", 1) for line in lines if ":\t" in line)


@pytest.mark.parametrize("name", ["web", "beat", "flower"])
def test_a_process_that_root_starts_is_the_service_user_without_capabilities(
    name: str,
    broker_url: str,
    process_env: Mapping[str, str],
    processes: ExitStack,
    tmp_path: Path,
) -> None:
    parts = Parts(env=dict(process_env), logs=tmp_path)
    described: dict[str, Callable[[], Service]] = {
        "web": lambda: parts.web(free_port()),
        "beat": lambda: parts.beat(schedule=tmp_path / "beat-schedule"),
        "flower": lambda: parts.flower(free_port(), credentials="admin:secret"),
    }
    process = processes.enter_context(Process(replace(described[name](), user=None)))
    user = service_user(os.environ)
    assert user is not None
    found = dict(statuses(process))
    for status in found.values():
        assert status["Uid"].split() == [str(user.uid)] * 4
        assert status["Gid"].split() == [str(user.gid)] * 4
        assert status["Groups"].strip() == ""
        assert {status[name] for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")} == {"0" * 16}
        assert status["NoNewPrivs"] == "1"
    if name == "web":
        assert len(found) > 1, "the main process of gunicorn has no worker"
    process.stop()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in found), what="the end of all of them")
