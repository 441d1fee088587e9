"""Slots that die while their worker has no connection to its broker are replaced when it has one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from jobs.models import Run
from tests.acceptance.conftest import ended
from tests.chaos.proxies import Proxy
from tests.processes import Process, wait_for

SLOTS = 2


@pytest.fixture
def wire(broker_url: str) -> Iterator[Proxy]:
    """The worker's way to the broker. Hints take another."""
    with Proxy(broker_url) as proxy:
        yield proxy


def slots(worker: int) -> list[int]:
    """Return the process numbers of the slots: the launcher, which is a child of the worker too, has another user."""
    main = psutil.Process(worker)
    return [child.pid for child in main.children() if lives(child.pid, of=main.uids())]


def kill(slots: list[int]) -> None:
    for slot in slots:
        os.kill(slot, signal.SIGKILL)
    wait_for(lambda: not any(map(lives, slots)), what="the end of the slots")


def lives(pid: int, *, of: object = None) -> bool:
    """Tell whether there is such a process, and whether it has the user `of` if one is named."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and of in (None, process.uids())
    return False


def worker_that_starts(log: Path) -> int | None:
    """Return the process number of a worker that has its slots and cannot reach its broker."""
    for process in psutil.process_iter(["cmdline", "ppid"]):
        if process.info["ppid"] == os.getpid() and f"--hostname {log.stem}@" in " ".join(process.info["cmdline"] or ()):
            return process.pid if len(slots(process.pid)) == SLOTS and "Cannot connect" in log.read_text() else None
    return None


@pytest.mark.parametrize("killed", [1, SLOTS])
def test_slots_that_die_before_the_broker_is_there(
    save: Callable[..., str],
    request_run: Callable[..., Run],
    start_worker: Callable[..., Process],
    wire: Proxy,
    tmp_path: Path,
    killed: int,
) -> None:
    save(run="true")
    wire.cut()
    with ThreadPoolExecutor(1) as starter:  # what it starts ends with its thread
        starting = starter.submit(start_worker, concurrency=SLOTS, env={"JOBSCHED_BROKER_URL": wire.url})
        log = wait_for(lambda: next(tmp_path.glob("worker-*.log"), None), what="the log of the worker")
        assert log is not None
        main = wait_for(lambda: worker_that_starts(log), timeout=60, what="the start of the worker")
        assert main is not None
        kill(slots(main)[:killed])

        wire.mend()

        worker = starting.result(timeout=60)
        assert ended(request_run()).state == "succeeded"
        wait_for(lambda: len(slots(main)) == SLOTS, what="the replacement of the slots")
        assert worker.is_running()


@pytest.mark.parametrize("killed", [1, SLOTS])
@pytest.mark.parametrize("work", ["idle", "busy"])
def test_slots_that_die_while_the_broker_is_away(
    save: Callable[..., str],
    request_run: Callable[..., Run],
    start_worker: Callable[..., Process],
    wire: Proxy,
    killed: int,
    work: str,
) -> None:
    save(run="true")
    save("Long", run="sleep 60", timeout="2m")
    worker = start_worker(concurrency=SLOTS, env={"JOBSCHED_BROKER_URL": wire.url})
    if work == "busy":
        runs = [request_run("Long") for _ in range(SLOTS)]
        wait_for(lambda: Run.objects.filter(pk__in=[r.pk for r in runs], state="running").count() == SLOTS)
    wire.cut()
    wait_for(lambda: "Cannot connect" in worker.log(), what="the loss of the broker")
    kill(slots(worker.pid)[:killed])

    wire.mend()

    wait_for(lambda: len(slots(worker.pid)) == SLOTS, timeout=60, what="the replacement of the slots")
    assert ended(request_run()).state == "succeeded"
    assert worker.is_running()
