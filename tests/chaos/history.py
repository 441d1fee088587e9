"""What happened, as plain values: rows of the database, lines of the journal, and what was seen of processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tests.chaos.journal import Line
from tests.chaos.sightings import Key, Sighting


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRow:
    """A run, and what its definition says of repeating it."""

    id: int
    state: str
    attempt: int = 0
    handed_back: int = 0
    job_id: int = 1
    schedule_id: int | None = None
    scheduled_for: datetime | None = None
    skipped_until: datetime | None = None
    skipped_count: int | None = None
    most_retries: int = 0
    on_lost: str = "retry"
    alone: bool = False
    """No other run of its job may overlap it."""
    journalled: bool = True
    """Its job writes `start` and `end`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptRow:
    run_id: int
    number: int
    verdict: str
    worker: str = ""
    started_at: float = 0.0
    """Seconds since the epoch, like `finished_at`."""
    finished_at: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A row of jobs_transition."""

    run_id: int
    before: str | None
    after: str
    attempt: int
    at: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """A schedule that fires every `every`, counted from `start`; the database accounts for it up to `cursor`."""

    schedule_id: int
    start: datetime
    every: timedelta
    cursor: datetime

    def instants(self) -> list[datetime]:
        """Return all instants after the start up to the cursor."""
        return [self.start + self.every * (n + 1) for n in range(int((self.cursor - self.start) / self.every))]


@dataclass(kw_only=True)
class History:
    """Of one experiment. Changes are in the order in which they were written."""

    runs: Sequence[RunRow] = ()
    attempts: Sequence[AttemptRow] = ()
    changes: Sequence[Change] = ()
    journal: Sequence[Line] = ()
    sightings: dict[Key, Sighting] = field(default_factory=dict)
    expected: Sequence[Expected] = ()
    acknowledged: Sequence[int] = ()
    """Runs whose making was confirmed to the one who asked."""


Query = Callable[..., list[tuple[Any, ...]]]

# Told by what it says, so that runs of other jobs need no journal.
_RUNS = """
SELECT r.id, r.state, r.attempt, r.handed_back, r.job_id, r.schedule_id, r.scheduled_for, r.skipped_until,
    r.skipped_count, coalesce((d.content->'retries'->>'max')::int, 0), coalesce(d.content->>'on_lost', 'retry'),
    j.overlap <> 'allow' OR j.max_running = 1,
    coalesce(position('log end' in d.content->'spec'->>'command') > 0, false)
FROM jobs_run r JOIN jobs_definition d ON d.id = r.definition_id JOIN jobs_job j ON j.id = r.job_id
WHERE r.id > %s ORDER BY r.id
"""
_ATTEMPTS = """
SELECT run_id, number, verdict, worker, extract(epoch FROM started_at)::float8, extract(epoch FROM finished_at)::float8
FROM jobs_attempt WHERE run_id > %s ORDER BY run_id, number
"""
_CHANGES = """
SELECT run_id, before, after, attempt, extract(epoch FROM at)::float8 FROM jobs_transition WHERE run_id > %s ORDER BY id
"""


def collect(
    query: Query,
    *,
    journal: Sequence[Line],
    sightings: dict[Key, Sighting],
    expected: Sequence[Expected],
    acknowledged: Sequence[int],
    after_run: int,
) -> History:
    """Read the database's side, of runs numbered above `after_run`, and put both sides together."""
    names = list(RunRow.__slots__)
    return History(
        runs=[RunRow(**dict(zip(names, row, strict=True))) for row in query(_RUNS, (after_run,))],
        attempts=[
            AttemptRow(run_id=r, number=n, verdict=v, worker=w, started_at=s, finished_at=f)
            for r, n, v, w, s, f in query(_ATTEMPTS, (after_run,))
        ],
        changes=[
            Change(run_id=r, before=b, after=a, attempt=n, at=at) for r, b, a, n, at in query(_CHANGES, (after_run,))
        ],
        journal=journal,
        sightings=sightings,
        expected=expected,
        acknowledged=acknowledged,
    )
