"""Heartbeats that the slots of a real worker share: who lives is renewed, who is killed is not."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from datetime import timedelta

import psutil

from jobs.models import Run
from tests.acceptance.conftest import attempts, ended, running
from tests.processes import Process, wait_for

SHORT_LEASE = {"JOBSCHED_LEASE_SECONDS": "6", "JOBSCHED_HEARTBEAT_SECONDS": "2"}
_SLOTS = 4


def test_the_slots_of_a_worker_are_renewed_together(
    save: Callable[..., str], request_run: Callable[..., Run], start_worker: Callable[..., Process]
) -> None:
    start_worker(env=SHORT_LEASE, concurrency=_SLOTS)
    save(run="sleep 60", timeout="2m")
    runs = []
    for _ in range(_SLOTS):  # one after the other, so that their own heartbeats would never be due together
        runs.append(running(request_run()))
        time.sleep(0.4)

    def together() -> bool:
        leases = Run.objects.filter(pk__in=[run.pk for run in runs]).values_list("lease_until", flat=True)
        ends = [lease for lease in leases if lease is not None]
        return len(ends) == _SLOTS and max(ends) - min(ends) < timedelta(seconds=0.1)

    wait_for(together, timeout=30, what="a heartbeat for all")


def test_a_slot_that_is_killed_loses_its_run_though_its_neighbours_live_on(
    save: Callable[..., str],
    request_run: Callable[..., Run],
    start_worker: Callable[..., Process],
    start_beat: Callable[..., Process],
) -> None:
    start_worker(env=SHORT_LEASE, concurrency=_SLOTS)
    start_beat(env=SHORT_LEASE)
    save(run='test "$JOBSCHED_ATTEMPT" -gt 1 || sleep 20', timeout="1m", retries={"max": 3, "backoff": "0s"})
    runs = [request_run() for _ in range(_SLOTS)]
    for run in runs:
        running(run)
    victim = Run.objects.get(pk=runs[0].pk)
    os.kill(int(victim.worker.rpartition("/")[2]), signal.SIGKILL)

    again = wait_for(lambda: Run.objects.filter(pk=victim.pk, attempt=2).first(), timeout=30, what="its next attempt")

    assert again is not None
    assert Run.objects.filter(pk__in=[run.pk for run in runs[1:]], state="running", attempt=1).count() == _SLOTS - 1
    assert [[a.verdict for a in attempts(ended(run, timeout=60))] for run in runs] == [
        ["lost", "succeeded"],
        *[["succeeded"]] * (_SLOTS - 1),
    ]
    assert not [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "20"]]
