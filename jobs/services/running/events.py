"""The events of a run for Flower: those that Celery sends for a task."""

from __future__ import annotations

from jobs.messages import Event
from jobs.store.claims import Claim
from jobsched.domain.outcomes import Outcome, Verdict

_ENDS = {Verdict.SUCCEEDED: "succeeded", Verdict.CANCELLED: "revoked", Verdict.HANDED_BACK: "retried"}


def begins(claim: Claim, *, job: str, at: float) -> list[Event]:
    """Return the events of an attempt that begins at `at`. Parameters stay out of them: they may be private."""
    named = {"name": job, "args": "()", "kwargs": "{}", "retries": claim.tries - 1}
    return [
        Event(kind="received", run_id=claim.run_id, at=at, fields=named),
        Event(kind="started", run_id=claim.run_id, at=at),
    ]


def ends(claim: Claim, outcome: Outcome, *, at: float, runtime: float) -> list[Event]:
    """Return the event of an attempt that ended at `at` after `runtime` seconds, failed or not."""
    fields = {
        "runtime": runtime,
        "result": outcome.reason or outcome.verdict,
        "exception": outcome.reason,
        "traceback": "",
    }
    return [Event(kind=_ENDS.get(outcome.verdict, "failed"), run_id=claim.run_id, at=at, fields=fields)]
