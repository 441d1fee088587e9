"""Cancelling runs."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.store.session import Execute
from jobsched.domain.states import State


def cancel(execute: Execute, run_ids: Sequence[int], *, actor: str) -> dict[int, State]:
    """End waiting runs and ask running ones to end. Return each active run's state afterwards.

    A run missing from the answer had ended before. A running run stays `running` until its attempt is dead.
    """
    rows = execute(
        """
        WITH target AS (
            SELECT id, state FROM jobs_run
            WHERE id = ANY(%(ids)s::bigint[]) AND state IN ('scheduled', 'queued', 'running')
            ORDER BY id FOR UPDATE
        ), changed AS (
            UPDATE jobs_run r SET
                state = CASE t.state WHEN 'running' THEN 'running' ELSE 'cancelled' END,
                reason = CASE t.state WHEN 'running' THEN r.reason ELSE 'cancelled by ' || %(actor)s::text END,
                finished_at = CASE t.state WHEN 'running' THEN NULL ELSE clock_timestamp() END,
                cancel_requested_at = coalesce(r.cancel_requested_at, clock_timestamp()),
                cancel_requested_by = coalesce(r.cancel_requested_by, %(actor)s::text)
            FROM target t WHERE r.id = ANY(%(ids)s::bigint[]) AND r.id = t.id
            RETURNING r.id, t.state AS before, r.state AS after, r.reason, r.attempt
        ), noted AS (
            INSERT INTO jobs_transition (run_id, at, before, after, reason, attempt, actor)
            SELECT id, clock_timestamp(), before, after, reason, attempt, %(actor)s::text
            FROM changed WHERE before <> after
        )
        SELECT id, after FROM changed
        """,
        {"ids": list(run_ids), "actor": actor},
    )
    return {id: State(state) for id, state in rows}
