"""Many runs from a terminal: found, cancelled and retried by what they have in common."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psutil

from jobs.models import Run
from jobs.services import control
from tests.acceptance.test_cli import Terminal, jobsched, make, worked
from tests.processes import Process, wait_for

__all__ = ["jobsched", "worked"]

SHORT_LEASE = {"JOBSCHED_LEASE_SECONDS": "4", "JOBSCHED_HEARTBEAT_SECONDS": "1"}


def test_dead_ends_are_listed_and_retried_by_the_mended_job(worked: Terminal) -> None:
    make(worked, "Report", run="exit 3")
    make(worked, "Other", run="kill -s TERM $$")
    for name in ("Report", "Report", "Other"):
        worked("run", name, "--follow", status=1)

    table = worked("runs", "--failed", "--job", "Report")
    assert table.count("exit 3") == 2 and "exit code 3" in table
    assert len(worked.json("runs", "--failed")) == 3
    assert len(worked.json("runs", "--exit-code", 143)) == len(worked.json("runs", "--signal", "term")) == 1
    assert worked.json("runs", "--failed", "--to", "2020-01-01") == []

    make(worked, "Report", run="echo mended")
    chosen = ("--job", "Report", "--failed", "--since", "2h")
    assert worked("retry", *chosen, "--dry-run") == "2 runs would be retried\n"
    assert "give --yes" in worked("retry", *chosen, status=2)
    assert not Run.objects.filter(trigger="retry").exists()
    assert worked("retry", *chosen, "--definition", "now", "--yes") == "2 runs retried\n"
    assert worked("retry", *chosen, "--definition", "now", "--yes") == "0 runs would be retried\n"

    wait_for(lambda: len(worked.json("runs", "--trigger", "retry", "--state", "succeeded")) == 2, what="both succeeded")
    assert [run["job"] for run in worked.json("runs", "--failed")] == ["Other"]
    [first, second] = worked.json("runs", "--retried", "yes")
    told = worked("show", second["id"])
    assert re.search(r"retried as +\d+", told)
    again = worked("retry", first["id"], second["id"], "--definition", "then")
    assert again.count("of Report is ") == 2, "by hand a run is repeated as often as one likes"


def test_cancel_by_what_they_have_in_common(jobsched: Terminal) -> None:
    make(jobsched, "Flood", run="true")
    make(jobsched, "Kept", run="true")
    control.trigger_many(job="Flood", count=1500, actor="ann")
    control.trigger(job="Kept", actor="ann")

    asked = ("--job", "Flood", "--state", "queued")
    assert jobsched("cancel", *asked, "--dry-run") == "1500 waiting runs and 0 running ones would be cancelled\n"
    refused = jobsched("cancel", *asked, status=2)
    assert "Cancel 1500 waiting runs and 0 running ones? Nobody can be asked here" in refused
    assert not Run.objects.filter(state="cancelled").exists()
    assert jobsched("cancel", *asked, "--yes") == "1500 runs cancelled, 0 running asked to end\n"
    assert list(Run.objects.filter(state="queued").values_list("job__name", flat=True)) == ["Kept"]


def test_ctrl_c_between_batches_tells_truly_how_many_were_cancelled(jobsched: Terminal) -> None:
    make(jobsched, "Flood", run="true")
    total = 30_000
    for _ in range(3):
        control.trigger_many(job="Flood", count=total // 3, actor="ann")
    cancelling = jobsched.start("cancel", "--job", "Flood", "--yes", text=True)
    cancelled = Run.objects.filter(state="cancelled")
    wait_for(cancelled.exists, what="the first batch")
    cancelling.send_signal(signal.SIGINT)
    out, notes = cancelling.communicate(timeout=60)

    assert cancelling.returncode == 130
    assert "Traceback" not in notes
    assert re.search(r"Stopped; runs older than run \d+ were left alone\.", notes)
    told = re.match(r"(\d+) runs cancelled, 0 running asked to end\n", out)
    assert told and 0 < int(told[1]) == cancelled.count() < total


def test_a_person_is_asked_first_and_sees_how_far_it_is(jobsched: Terminal) -> None:
    make(jobsched, "Flood", run="true")
    control.trigger_many(job="Flood", count=3, actor="ann")
    script = ["script", "-qec", shlex.join(jobsched._line("cancel", "--job", "Flood")), "/dev/null"]
    for answer, left in (("n", 3), ("y", 0)):
        told = subprocess.run(script, input=f"{answer}\n", capture_output=True, text=True, timeout=60, **jobsched._how)
        assert "Cancel 3 waiting runs and 0 running ones? [y/N]" in told.stdout
        assert Run.objects.filter(state="queued").count() == left
        assert ("100%" in told.stdout) == (answer == "y")


def test_a_cancel_is_kept_for_a_worker_that_cannot_be_reached(
    jobsched: Terminal, start_worker: Callable[..., Process], start_beat: Callable[..., Process]
) -> None:
    start_beat(env=SHORT_LEASE)
    worker = start_worker(env=SHORT_LEASE)
    make(jobsched, "Slow", run="sleep 600")
    number = jobsched.json("run", "Slow")["id"]
    wait_for(lambda: jobsched.json("show", number)["state"] == "running", what="the run began")
    with frozen(worker.pid):
        told = jobsched("cancel", number)
        assert "the request is recorded; its worker " in told
        assert "if it cannot be reached the run ends with its lease, at " in told
        wait_for(lambda: jobsched.json("show", number)["state"] == "cancelled", what="it ended without its worker")
    receipt = jobsched("show", number)
    assert "was lost" in receipt
    assert re.search(r"cancel requested by +ann\b", receipt)
    assert re.search(r"running +cancelled +beat +cancelled by ann", receipt)


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stop a process and all below it: to everybody else it is as good as cut off."""
    main = psutil.Process(pid)
    stopped = [main, *main.children(recursive=True)]
    for one in stopped:
        one.suspend()
    try:
        yield
    finally:
        for one in stopped:
            with suppress(psutil.NoSuchProcess):
                one.resume()
