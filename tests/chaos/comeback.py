"""Whether a worker that was away for a while works again by itself."""

from __future__ import annotations

from tests.chaos.stage import Stage
from tests.processes import Process


def works_again(stage: Stage, worker: Process, other: Process | None) -> None:
    """See that a worker takes runs of the job `Short` again, without a restart, while another is out of the way."""
    paused = stage.freeze(other) if other is not None else []
    try:
        again = stage.submit(1, seconds=0.1, job="Short")
        stage.wait_for(
            lambda: stage.query("SELECT 1 FROM jobs_run WHERE id = ANY(%s) AND finished_at IS NOT NULL", (again,)),
            timeout=60,
            what=f"the next run of {worker.name} after it had gone on",
        )
    finally:
        stage.thaw(paused)


def demand_lost_and_done_again(stage: Stage, *runs: int) -> None:
    """Demand that the first attempt of each run was lost and the one after it succeeded.

    In the short mix others may have been lost between them: its leases are short, and a machine that stands still for
    seconds costs healthy workers theirs.
    """
    for run in runs:
        verdicts = [
            verdict
            for (verdict,) in stage.query("SELECT verdict FROM jobs_attempt WHERE run_id = %s ORDER BY number", (run,))
        ]
        *before, last = verdicts or ["none"]
        once = before == ["lost"] if stage.is_full else set(before) == {"lost"}
        stage.demand(once and last == "succeeded", f"the attempts of run {run} were {', '.join(verdicts)}")
