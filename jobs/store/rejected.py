"""Counts of messages that workers rejected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from jobs.rejections import Kind
from jobs.store.session import Execute

QUIET: Final = timedelta(days=1)
"""After so long without a rejection, a count starts again at 0 and is no longer shown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejected:
    """Messages of one queue that were rejected for one reason."""

    queue: str
    reason: str
    count: int
    first_at: datetime
    last_at: datetime


def add(execute: Execute, counts: Mapping[Kind, int]) -> None:
    """Add to the counts."""
    execute(
        """
        INSERT INTO jobs_rejectedmessages AS r (queue, reason, count, first_at, last_at)
        SELECT queue, reason, count, clock_timestamp(), clock_timestamp()
        FROM unnest(%(queues)s::text[], %(reasons)s::text[], %(counts)s::bigint[]) AS i(queue, reason, count)
        ORDER BY queue, reason
        ON CONFLICT (queue, reason) DO UPDATE SET
            count = CASE WHEN r.last_at < clock_timestamp() - %(quiet)s THEN 0 ELSE r.count END + excluded.count,
            first_at = CASE WHEN r.last_at < clock_timestamp() - %(quiet)s THEN excluded.first_at ELSE r.first_at END,
            last_at = excluded.last_at
        """,
        {
            "queues": [kind.queue for kind in counts],
            "reasons": [kind.reason.value for kind in counts],
            "counts": list(counts.values()),
            "quiet": QUIET,
        },
    )


def recent(execute: Execute) -> list[Rejected]:
    """Return what was rejected lately, the most first."""
    rows = execute(
        """
        SELECT queue, reason, count, first_at, last_at FROM jobs_rejectedmessages
        WHERE last_at > clock_timestamp() - %(quiet)s ORDER BY count DESC, queue, reason
        """,
        {"quiet": QUIET},
    )
    return [
        Rejected(queue=queue, reason=reason, count=count, first_at=first, last_at=last)
        for queue, reason, count, first, last in rows
    ]
