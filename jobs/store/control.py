"""Cancelling runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.store.claims import Lane
from jobs.store.session import Execute
from jobsched.domain.states import State


@dataclass(frozen=True, kw_only=True, slots=True)
class Cancelled:
    """The state of each run that was active, after the request; and where others may go instead."""

    states: dict[int, State]
    freed: set[Lane]


def cancel(execute: Execute, run_ids: Sequence[int], *, actor: str) -> Cancelled:
    """End waiting runs and ask running ones to end. Call inside a transaction.

    A run missing from the answer had ended before. A running run stays `running` until its attempt is dead.
    """
    # Locked by a statement of its own: the next one then begins after whatever changed them, and sees it.
    execute(
        """
        SELECT FROM jobs_run WHERE id = ANY(%(ids)s::bigint[]) AND state IN ('scheduled', 'queued', 'running')
        ORDER BY id FOR UPDATE
        """,
        {"ids": list(run_ids)},
    )
    rows = execute(
        """
        WITH target AS (
            SELECT id, state FROM jobs_run
            WHERE id = ANY(%(ids)s::bigint[]) AND state IN ('scheduled', 'queued', 'running')
        ), changed AS (
            UPDATE jobs_run r SET
                state = CASE t.state WHEN 'running' THEN 'running' ELSE 'cancelled' END,
                reason = CASE t.state WHEN 'running' THEN r.reason ELSE 'cancelled by ' || %(actor)s::text END,
                finished_at = CASE t.state WHEN 'running' THEN NULL ELSE clock_timestamp() END,
                cancel_requested_at = coalesce(r.cancel_requested_at, clock_timestamp()),
                cancel_requested_by = coalesce(r.cancel_requested_by, %(actor)s::text)
            FROM target t WHERE r.id = ANY(%(ids)s::bigint[]) AND r.id = t.id
            RETURNING r.id, t.state AS before, r.state AS after, r.reason, r.attempt, r.job_id, r.lane, r.held
        ), noted AS (
            INSERT INTO jobs_transition (run_id, at, before, after, reason, attempt, actor)
            SELECT id, clock_timestamp(), before, after, reason, attempt, %(actor)s::text
            FROM changed WHERE before <> after
        )
        SELECT id, after, job_id, lane, held FROM changed
        """,
        {"ids": list(run_ids), "actor": actor},
    )
    return Cancelled(
        states={id: State(state) for id, state, _, _, _ in rows},
        freed={
            (job, lane) for _, state, job, lane, held in rows if state == "cancelled" and lane is not None and held < 2
        },
    )
