"""Processes are started, kept running, and stopped in reverse order."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from jobsched.local.service import Service, StartFailed
from jobsched.local.supervisor import Supervisor


@pytest.fixture
def said() -> list[str]:
    return []


def shell(folder: Path, name: str, script: str, *, grace: float = 10.0, ready_text: bytes | None = b"ready") -> Service:
    return Service(
        name=name,
        argv=("/bin/sh", "-c", script),
        env={"PATH": os.defpath},
        cwd=folder,
        log=folder / f"{name}.log",
        ready_text=ready_text,
        ready_within=timedelta(seconds=20),
        grace=timedelta(seconds=grace),
    )


def run(said: list[str], use: Callable[[Supervisor], Awaitable[None]]) -> None:
    async def whole() -> None:
        supervisor = Supervisor(said.append)
        try:
            await asyncio.wait_for(use(supervisor), 60)
        finally:
            await supervisor.stop()

    asyncio.run(whole())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)


def pid_in(path: Path) -> int:
    return int(path.read_text())


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_process_that_dies_is_started_again_and_that_is_said(tmp_path: Path, said: list[str]) -> None:
    pid_file = tmp_path / "pid"
    service = shell(tmp_path, "worker", f"echo $$ > {pid_file}; echo ready; exec sleep 600")

    async def use(supervisor: Supervisor) -> None:
        await supervisor.start(service)
        first = pid_in(pid_file)
        os.kill(first, signal.SIGKILL)
        await until(lambda: "worker is back" in said)
        assert pid_in(pid_file) != first

    run(said, use)
    assert said == ["worker ended (killed by SIGKILL); starting it again in 0.5 s", "worker is back"]
    assert not is_alive(pid_in(pid_file))


def test_processes_are_stopped_in_reverse_order(tmp_path: Path, said: list[str]) -> None:
    order = tmp_path / "order"

    def recording(name: str) -> Service:
        return shell(
            tmp_path, name, f"trap 'echo {name} >> {order}; exit' TERM; echo ready; while :; do sleep 0.02; done"
        )

    async def use(supervisor: Supervisor) -> None:
        for name in ("database", "broker", "web"):
            await supervisor.start(recording(name))

    run(said, use)
    assert order.read_text().split() == ["web", "broker", "database"]


def test_a_process_that_ignores_its_signal_is_killed_after_its_grace(tmp_path: Path, said: list[str]) -> None:
    pid_file = tmp_path / "pid"
    stubborn = shell(
        tmp_path, "web", f"trap '' TERM; echo $$ > {pid_file}; echo ready; while :; do sleep 0.1; done", grace=0.2
    )
    run(said, lambda supervisor: supervisor.start(stubborn))
    assert said == ["web did not stop within its grace; killing it"]
    assert not is_alive(pid_in(pid_file))


def test_hurry_does_not_wait_for_the_grace(tmp_path: Path, said: list[str]) -> None:
    pid_file = tmp_path / "pid"
    stubborn = shell(
        tmp_path, "web", f"trap '' TERM; echo $$ > {pid_file}; echo ready; while :; do sleep 0.1; done", grace=600
    )

    async def use(supervisor: Supervisor) -> None:
        await supervisor.start(stubborn)
        supervisor.hurry()

    run(said, use)
    assert not is_alive(pid_in(pid_file))


def test_a_process_that_ends_while_starting_is_reported_with_its_cause_and_its_log(
    tmp_path: Path, said: list[str]
) -> None:
    failing = shell(tmp_path, "web", "echo no such module; exit 3")
    with pytest.raises(
        StartFailed, match=r"^web ended while starting \(exit code 3\): no such module; see .*/web.log\.$"
    ):
        run(said, lambda supervisor: supervisor.start(failing))


def test_a_command_that_fails_is_reported_with_its_cause_and_its_log(tmp_path: Path, said: list[str]) -> None:
    failing = shell(tmp_path, "migrate", "echo no such table; exit 4")
    with pytest.raises(StartFailed, match=r"^migrate failed \(exit code 4\): no such table; see .*/migrate.log\.$"):
        run(said, lambda supervisor: supervisor.run(failing))


def test_stopping_while_something_starts_leaves_no_process(tmp_path: Path, said: list[str]) -> None:
    pid_file = tmp_path / "pid"
    never_ready = shell(tmp_path, "web", f"echo $$ > {pid_file}; exec sleep 600")

    async def use(supervisor: Supervisor) -> None:
        starting = asyncio.create_task(supervisor.start(never_ready))
        await until(lambda: pid_file.exists() and pid_file.read_text().strip() != "")
        starting.cancel()

    run(said, use)
    assert not is_alive(pid_in(pid_file))
