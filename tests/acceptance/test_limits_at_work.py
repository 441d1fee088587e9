"""Limits with real workers: what runs beside each other is read from what the jobs themselves wrote down."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.models import Run
from tests.acceptance.conftest import ended, running
from tests.processes import Process, wait_for

NOTE = 'echo "start $JOBSCHED_RUN_ID" >> {log}; sleep {seconds}; echo "end $JOBSCHED_RUN_ID" >> {log}'


@pytest.fixture
def two_workers(start_worker: Callable[..., Process], start_beat: Callable[..., Process]) -> None:
    start_worker(concurrency=2)
    start_worker(concurrency=2)
    start_beat()


def most_at_once(log: Path) -> int:
    """Lines of one write each are in the order of the writes."""
    now = most = 0
    for line in log.read_text().splitlines():
        now += 1 if line.startswith("start") else -1
        most = max(most, now)
    return most


def test_no_more_run_at_once_than_the_job_allows(
    two_workers: None, save: Callable[..., str], request_run: Callable[..., Run], tmp_path: Path
) -> None:
    limits: dict[str, dict[str, object]] = {"one": {"overlap": "queue"}, "two": {"max_running": 2}, "any": {}}
    most = {}
    for name, keys in limits.items():
        log = tmp_path / name
        save(name, run=NOTE.format(log=log, seconds=0.3 if keys else 3), **keys)
        runs = [request_run(name) for _ in range(12 if keys else 4)]
        assert {ended(run, timeout=90).state for run in runs} == {"succeeded"}
        most[name] = most_at_once(log)
    assert (most["one"], most["two"]) == (1, 2)
    assert most["any"] > 2  # four slots and nothing in their way: the test can see runs beside each other


def test_the_one_that_is_replaced_is_dead_before_the_new_one_starts(
    two_workers: None, save: Callable[..., str], request_run: Callable[..., Run], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    # It takes its time to end, as work does that cleans up behind itself.
    save(
        "Newest only",
        overlap="replace",
        run=f"trap 'sleep 0.5; echo \"end $JOBSCHED_RUN_ID\" >> {log}; exit 1' TERM; "
        f'echo "start $JOBSCHED_RUN_ID" >> {log}; sleep 60 & wait',
    )
    old = running(request_run("Newest only"))
    wait_for(log.exists, what="the first line")
    new = running(request_run("Newest only"))
    old.refresh_from_db()
    assert (old.state, old.cancel_requested_by) == ("cancelled", "a newer run that replaces it")
    wait_for(lambda: len(log.read_text().splitlines()) == 3, what="the start of the new one")
    assert log.read_text().split() == ["start", str(old.pk), "end", str(old.pk), "start", str(new.pk)]


def test_a_rate_is_kept_by_all_workers_together(
    two_workers: None, save: Callable[..., str], request_run: Callable[..., Run]
) -> None:
    save("Paced", rate="2/s", run="true")
    runs = [ended(run, timeout=90) for run in [request_run("Paced") for _ in range(8)]]
    assert {run.state for run in runs} == {"succeeded"}
    starts = sorted(run.started_at for run in runs if run.started_at)
    # Eight starts at two a second, less the quarter of a second that a bucket holds.
    assert (starts[-1] - starts[0]).total_seconds() >= 7 * 0.5 - 0.25 - 0.2
