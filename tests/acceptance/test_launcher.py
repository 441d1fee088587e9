"""A worker that root started: who its processes are, and what happens when its launcher is killed."""

from __future__ import annotations

import os
from collections.abc import Callable

import psutil

from jobs.models import Run
from jobsched.shim.users import job_uids, service_user
from tests.acceptance.conftest import attempts, ended
from tests.processes import Process, wait_for
from tests.unrun import needs_root

pytestmark = needs_root("only a worker that root starts has a launcher")


def children(worker: Process) -> list[psutil.Process]:
    return psutil.Process(worker.pid).children()


def is_root(process: psutil.Process) -> bool:
    return 0 in process.uids()


def test_only_the_launcher_stays_root_and_runs_have_a_user_of_their_own(
    save: Callable[..., str], request_run: Callable[..., Run], start_worker: Callable[..., Process]
) -> None:
    worker = start_worker(concurrency=2)
    service = service_user(os.environ)
    assert service is not None
    assert set(psutil.Process(worker.pid).uids()) == {service.uid}
    assert [is_root(child) for child in children(worker)].count(True) == 1
    save(run="id -u")
    run = ended(request_run())
    assert int(attempts(run)[0].output) in job_uids(os.environ)


def test_a_worker_whose_launcher_was_killed_stops_and_hands_its_runs_back(
    save: Callable[..., str],
    request_run: Callable[..., Run],
    start_worker: Callable[..., Process],
    start_beat: Callable[..., Process],
) -> None:
    start_beat()  # the hint went to the worker that stops
    worker = start_worker()
    [launcher] = [child for child in children(worker) if is_root(child)]
    launcher.kill()
    save(run="true")
    run = request_run()
    wait_for(lambda: not worker.is_running(), what="the stop of the worker", timeout=60)
    start_worker()
    assert ended(run).state == "succeeded"
    assert "must be started again" in worker.log()
