"""What beat does for runs nobody holds: promote, find expired leases, find queues with work."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from jobs.store.beatwatch import LEASES_MAY_BE_JUDGED, judging
from jobs.store.claims import Claim, Lane
from jobs.store.outputs import INLINE_BYTES
from jobs.store.session import Execute


@dataclass(frozen=True, kw_only=True, slots=True)
class Promoted:
    """Runs whose time has come: how many may be claimed, by queue, and where others wait for their turn."""

    ready: dict[str, int]
    lanes: set[Lane]
    queues: set[str]
    count: int


def promote_due(execute: Execute, *, limit: int) -> Promoted:
    """Move scheduled runs whose time has come to their queue."""
    rows = execute(
        """
        WITH due AS (
            SELECT id FROM jobs_run WHERE state = 'scheduled' AND run_at <= (SELECT clock_timestamp())
            ORDER BY run_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        ), moved AS (
            UPDATE jobs_run r SET state = 'queued',
                expires_at = least(r.deadline_at, clock_timestamp() + r.wait_seconds * interval '1 second'),
                held = CASE
                WHEN lane IS NOT NULL THEN 2
                WHEN EXISTS (SELECT FROM jobs_queue q WHERE q.name = r.queue AND q.rate <> '') THEN 1
                ELSE 0 END
            WHERE id = ANY(ARRAY(SELECT id FROM due))
            RETURNING id, queue, attempt, held, job_id, lane
        ), noted AS (
            INSERT INTO jobs_transition (run_id, at, before, after, reason, attempt, actor)
            SELECT id, clock_timestamp(), 'scheduled', 'queued', 'its time has come', attempt, 'beat' FROM moved
        )
        SELECT queue, held, job_id, lane FROM moved
        """,
        {"limit": limit},
    )
    return Promoted(
        ready=Counter(queue for queue, held, _, _ in rows if held == 0),
        lanes={(job, lane) for _, held, job, lane in rows if held == 2},
        queues={queue for queue, held, _, _ in rows if held == 1},
        count=len(rows),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Expired:
    """A running run whose lease ran out, locked until the end of the transaction."""

    claim: Claim
    worker: str
    content: dict[str, Any]
    output_end: bytes
    """What the database holds of the last 64 KiB of its output."""
    output_total: int
    begun: bool
    """False for one of several runs that were claimed together: whether this one had begun is not recorded."""


def lock_expired(execute: Execute, *, lease: timedelta, limit: int) -> list[Expired]:
    """Lock runs whose lease has ended, with the output their attempts left behind. Call inside a transaction.

    None are locked unless beats have watched the database for the length of a `lease`. That is asked in this
    statement, since the database may have crashed after any other.
    """
    rows = execute(
        f"""
        WITH expired AS (
            SELECT * FROM jobs_run
            WHERE state = 'running' AND lease_until < clock_timestamp() AND {LEASES_MAY_BE_JUDGED}
            ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        )
        SELECT r.id, r.attempt, r.claim_token, r.handed_back, r.definition_id, r.queue, r.params, r.in_process,
            r.scheduled_for, r.started_at, r.deadline_at, r.worker, d.content::text,
            (SELECT string_agg(c.data, ''::bytea ORDER BY c.start) FROM jobs_outputchunk c
             WHERE c.run_id = r.id AND c.attempt = r.attempt AND c.start + c.size > o.total - %(output_end)s),
            coalesce(o.total, 0), NOT r.batchable
        FROM expired r JOIN jobs_definition d ON d.id = r.definition_id
        CROSS JOIN LATERAL (
            SELECT max(c.start + c.size) AS total FROM jobs_outputchunk c
            WHERE c.run_id = r.id AND c.attempt = r.attempt) o
        """,  # noqa: S608 - the condition is ours
        {"limit": limit, "output_end": INLINE_BYTES, **judging(lease)},
    )
    return [_expired(row) for row in rows]


def _expired(row: Sequence[Any]) -> Expired:
    return Expired(
        claim=Claim(
            run_id=row[0],
            attempt=row[1],
            token=row[2],
            handed_back=row[3],
            definition_id=row[4],
            queue=row[5],
            params=None,
            in_process=row[7],
            scheduled_for=row[8],
            started_at=row[9],
            deadline_at=row[10],
        ),
        worker=row[11],
        content=json.loads(row[12]),
        output_end=bytes(row[13] or b""),
        output_total=row[14],
        begun=row[15],
    )


def claim_alone(execute: Execute, run_ids: Sequence[int]) -> None:
    """Keep runs out of batches from now on, so that it is known whether their next attempt has begun."""
    execute("UPDATE jobs_run SET batchable = false WHERE id = ANY(%(ids)s::bigint[])", {"ids": list(run_ids)})


@dataclass(frozen=True, kw_only=True, slots=True)
class GivenUp:
    """Runs that were given up while they waited, and where others may go instead."""

    run_ids: list[int]
    freed: set[Lane]


def give_up_expired(execute: Execute, *, limit: int) -> GivenUp:
    """End waiting runs whose time is over: that in their queue, or that of the whole run."""
    rows = execute(
        """
        WITH expired AS (
            SELECT id, state, run_at, wait_seconds, deadline_at FROM jobs_run
            WHERE state IN ('scheduled', 'queued') AND expires_at <= (SELECT clock_timestamp())
            ORDER BY expires_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        ), ended AS (
            UPDATE jobs_run r SET state = 'timed_out', finished_at = clock_timestamp(), reason =
                CASE WHEN e.deadline_at <= clock_timestamp() THEN 'its deadline passed ' ||
                    CASE WHEN e.state = 'scheduled' AND r.attempt > 0 THEN 'before its next attempt'
                         WHEN r.attempt > 0 THEN 'while it waited for a worker again'
                         ELSE 'before a worker started it' END
                ELSE 'no worker started it within the ' || round(e.wait_seconds::numeric, 3)::float8
                    || ' s that it may wait in its queue' END
            FROM expired e WHERE r.id = ANY(ARRAY(SELECT id FROM expired)) AND r.id = e.id
            RETURNING r.id, e.state AS before, r.reason, r.attempt, r.job_id, r.lane, r.held
        ), noted AS (
            INSERT INTO jobs_transition (run_id, at, before, after, reason, attempt, actor)
            SELECT id, clock_timestamp(), before, 'timed_out', reason, attempt, 'beat' FROM ended
        )
        SELECT id, job_id, lane, held FROM ended
        """,
        {"limit": limit},
    )
    return GivenUp(
        run_ids=[id for id, _, _, _ in rows],
        freed={(job, lane) for _, job, lane, held in rows if lane is not None and held < 2},
    )


def queues_with_work(execute: Execute, queues: Sequence[str]) -> list[str]:
    """Return those of `queues` in which a run waits: one index probe each, whatever the backlog."""
    rows = execute(
        """
        SELECT q FROM unnest(%(queues)s::text[]) AS q
        WHERE EXISTS (SELECT FROM jobs_run WHERE state = 'queued' AND held = 0 AND queue = q)
        """,
        {"queues": list(queues)},
    )
    return [queue for (queue,) in rows]
