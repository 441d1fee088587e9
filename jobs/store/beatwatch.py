"""Since when beats have looked at the database without a gap: only then is it known which leases have ended.

Renewals of leases commit without waiting for the disk. A crash of PostgreSQL forgets the last of them, and so does the
promotion of a replica; the rows then say that leases have ended which their workers still hold. The one row of
`jobs_beatwatch` is in an unlogged table, which PostgreSQL empties in both cases, and in no case in which renewals are
kept. So a beat also notices an outage that began and ended between two of its looks: the row is gone.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from jobs.store.session import Execute

LONGEST_GAP: Final = timedelta(seconds=5)
SHORTEST_GAP: Final = timedelta(seconds=2)
"""Beats note their presence every second, and a busy one is late."""

_CLOCK_TOLERANCE: Final = timedelta(seconds=1)
"""The database's clock may be set back by so much without ending a watch."""

LEASES_MAY_BE_JUDGED: Final = """
EXISTS (SELECT FROM jobs_beatwatch
    WHERE since < clock_timestamp() - %(lease)s AND seen_at > clock_timestamp() - %(gap)s)
"""
"""A condition: beats have watched for the length of a lease, and do so now. Its parameters come from `judging`."""

_NOTE_BEAT: Final = """
INSERT INTO jobs_beatwatch AS w (id, since, seen_at)
SELECT 1, now, now FROM (SELECT clock_timestamp() AS now) AS clock
ON CONFLICT (id) DO UPDATE SET (since, seen_at) = (
    SELECT CASE WHEN w.seen_at BETWEEN now - %(gap)s AND now + %(tolerance)s THEN w.since ELSE now END, now
    FROM (SELECT clock_timestamp() AS now) AS clock)
RETURNING since = seen_at
"""

# After the promotion of a replica whose clock is behind, leases would last longer by that.
_SHORTEN_LEASES: Final = """
UPDATE jobs_run SET lease_until = clock_timestamp() + %(lease)s
WHERE state = 'running' AND lease_until > clock_timestamp() + %(lease)s
"""


def judging(lease: timedelta) -> dict[str, Any]:
    """Return the parameters of LEASES_MAY_BE_JUDGED for leases of this length."""
    return {"lease": lease, "gap": _gap(lease)}


def note_beat(execute: Execute, *, lease: timedelta) -> bool:
    """Note that a beat looks at this database now. Return whether a watch begins, before which nothing is known.

    It begins anew when no beat has looked for some seconds, or when the clock was set forth or back by as much.
    """
    [(begins,)] = execute(_NOTE_BEAT, {"gap": _gap(lease), "tolerance": _CLOCK_TOLERANCE})
    if begins:
        execute(_SHORTEN_LEASES, {"lease": lease})
    return bool(begins)


def _gap(lease: timedelta) -> timedelta:
    """Return the longest time between two looks in which no lease that was renewed just before can have ended."""
    return min(LONGEST_GAP, max(SHORTEST_GAP, lease / 3))
