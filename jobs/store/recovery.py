"""What beat does for runs nobody holds: promote, find expired leases, find queues with work."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jobs.store.claims import Claim, Lane
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
            UPDATE jobs_run r SET state = 'queued', held = CASE
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
    output: bytes


def lock_expired(execute: Execute, *, limit: int) -> list[Expired]:
    """Lock runs whose lease has ended, with the output their attempts left behind. Call inside a transaction."""
    rows = execute(
        """
        WITH expired AS (
            SELECT * FROM jobs_run WHERE state = 'running' AND lease_until < clock_timestamp()
            ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        )
        SELECT r.id, r.attempt, r.claim_token, r.handed_back, r.definition_id, r.queue, r.params, r.in_process,
            r.scheduled_for, r.started_at, r.worker, d.content::text,
            (SELECT string_agg(c.data, ''::bytea ORDER BY c.start) FROM jobs_outputchunk c
             WHERE c.run_id = r.id AND c.attempt = r.attempt)
        FROM expired r JOIN jobs_definition d ON d.id = r.definition_id
        """,
        {"limit": limit},
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
        ),
        worker=row[10],
        content=json.loads(row[11]),
        output=bytes(row[12] or b""),
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
