"""Decide what an ended attempt means for its run. A value comes out; one statement carries it out."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from jobs.store.claims import Claim, Settlement
from jobsched.domain.content import Content
from jobsched.domain.excerpts import ends_of
from jobsched.domain.outcomes import Outcome, Report, Verdict
from jobsched.domain.retry import decide
from jobsched.domain.states import State

_ENDS = {
    Verdict.SUCCEEDED: State.SUCCEEDED,
    Verdict.FAILED: State.FAILED,
    Verdict.TIMED_OUT: State.TIMED_OUT,
    Verdict.CANCELLED: State.CANCELLED,
    Verdict.LOST: State.FAILED,
    Verdict.HANDED_BACK: State.QUEUED,
}


def settle(claim: Claim, content: Content, outcome: Outcome, *, now: datetime, unit: float) -> Settlement:
    """Decide where the run goes: its end, another attempt after a backoff, or back to its queue."""
    outcome = outcome.with_texts_cut()
    after, reason, again_in = _ENDS[outcome.verdict], outcome.reason, None
    if outcome.verdict in (Verdict.FAILED, Verdict.TIMED_OUT, Verdict.LOST):
        decision = decide(
            content.retries,
            outcome=outcome,
            tries=claim.tries,
            now=now,
            unit=unit,
            on_lost=content.on_lost,
            deadline=claim.deadline_at,
        )
        reason = decision.reason or reason
        if decision.again and decision.at:
            after, again_in = State.SCHEDULED, (decision.at - now).total_seconds()
    return Settlement(
        run_id=claim.run_id,
        attempt=claim.attempt,
        token=claim.token,
        after=after,
        reason=reason,
        again_in_seconds=again_in,
        verdict=outcome.verdict,
        attempt_reason=outcome.reason,
        handed_back=outcome.verdict is Verdict.HANDED_BACK,
        exit_code=outcome.exit_code,
        signal=outcome.signal,
        http_status=outcome.http_status,
        error=outcome.error,
        result=outcome.result,
        warning=outcome.warning,
    )


def hand_back(claim: Claim, reason: str) -> Settlement:
    """Give a run back to its queue whose work has not begun. It does not count as an attempt."""
    return Settlement(
        run_id=claim.run_id,
        attempt=claim.attempt,
        token=claim.token,
        after=State.QUEUED,
        reason=reason,
        again_in_seconds=None,
        verdict=Verdict.HANDED_BACK,
        attempt_reason=reason,
        handed_back=True,
    )


def with_output(settlement: Settlement, report: Report, *, inline: bool, flushed: bool) -> Settlement:
    """Add what the attempt printed: with `inline` all of it, else its beginning and its end.

    With `flushed`, the rows that hold it as well are removed.
    """
    output = report.output if inline else ends_of(report.output, report.output_total)
    return replace(
        settlement,
        output=output.decode("utf-8", "replace"),
        output_total=report.output_total,
        sections=[section.to_json() for section in report.sections] or None,
        killed=report.killed,
        processes=[process.to_json() for process in report.processes] or None,
        flushed=flushed,
    )
