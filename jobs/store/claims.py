"""Claims and fenced records: the statements a worker slot lives on.

One statement records what was performed and claims what comes next. The fence is `attempt` and
`claim_token`: a worker whose claim was taken away changes nothing, and learns so from the missing row.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from jobs.store.session import Execute, Refused
from jobsched.domain.states import State
from jobsched.domain.storable import storable


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimRequest:
    """What a slot asks for. `token` is its own making, so that a claim whose answer was lost can be found."""

    token: UUID
    queue: str
    limit: int
    worker: str
    lease: timedelta


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """The right to perform one attempt of a run until its lease ends."""

    run_id: int
    attempt: int
    token: UUID
    handed_back: int
    definition_id: int
    queue: str
    params: dict[str, Any] | None
    in_process: bool
    scheduled_for: datetime | None
    started_at: datetime
    deadline_at: datetime | None = None
    """When the whole run must have ended."""

    @property
    def tries(self) -> int:
        """Attempts that count against the job's retries, this one included."""
        return self.attempt - self.handed_back

    @property
    def seconds_to_deadline(self) -> float | None:
        """What was left for the whole run when it was claimed, by the database's clock."""
        return None if self.deadline_at is None else (self.deadline_at - self.started_at).total_seconds()


@dataclass(frozen=True, kw_only=True, slots=True)
class Settlement:
    """The end of one attempt, and where its run goes from here."""

    run_id: int
    attempt: int
    token: UUID
    after: State
    reason: str
    again_in_seconds: float | None
    """For `after = scheduled`: the backoff."""
    verdict: str
    attempt_reason: str = ""
    handed_back: bool = False
    exit_code: int | None = None
    signal: int | None = None
    http_status: int | None = None
    error: str | None = None
    result: Any = None
    warning: str = ""
    output: str = ""
    output_total: int = 0
    sections: list[dict[str, Any]] | None = None
    killed: int = 0
    processes: list[dict[str, Any]] | None = None
    """Receipts of processes that were ended with it."""
    flushed: bool = False
    """Output was kept in rows while it ran, and all of it is in `output` now: they go."""


Lane = tuple[int, str]
"""A job's number, and the name of one of its lanes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """What one statement did: which settlements were recorded (as which state), and what was claimed."""

    recorded: dict[int, State] = field(default_factory=dict)
    freed: set[Lane] = field(default_factory=set)
    """Where other runs of limited jobs may go now."""
    claims: list[Claim] = field(default_factory=list)


# `= ANY(array)` beside each join keeps the planner on the primary key, however large the table and however
# little it knows of the JSON it will be given.
_SETTLE = """
i AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(settlements)s::jsonb) AS i(
        run_id bigint, attempt int, token uuid, after text, reason text, again_in_seconds double precision,
        verdict text, attempt_reason text, handed_back boolean, exit_code int, signal smallint, http_status int,
        error text, result jsonb, warning text, output text, output_total bigint, sections jsonb,
        killed int, processes jsonb)
), settled AS (
    UPDATE jobs_run r SET
        state = CASE WHEN r.cancel_requested_at IS NOT NULL
                AND (i.verdict = 'lost' OR i.after IN ('scheduled', 'queued'))
                     THEN 'cancelled' ELSE i.after END,
        reason = CASE WHEN r.cancel_requested_at IS NOT NULL
                AND (i.verdict = 'lost' OR i.after IN ('scheduled', 'queued'))
                      THEN 'cancelled by ' || r.cancel_requested_by ELSE i.reason END,
        run_at = CASE WHEN i.after = 'scheduled'
                      THEN clock_timestamp() + i.again_in_seconds * interval '1 second' ELSE r.run_at END,
        finished_at = CASE WHEN i.after NOT IN ('scheduled', 'queued') OR r.cancel_requested_at IS NOT NULL
                           THEN clock_timestamp() END,
        expires_at = CASE i.after
            WHEN 'scheduled' THEN r.deadline_at
            WHEN 'queued' THEN least(r.deadline_at, clock_timestamp() + r.wait_seconds * interval '1 second') END,
        handed_back = r.handed_back + i.handed_back::int,
        claim_token = NULL, lease_until = NULL
    FROM i
    WHERE r.id = ANY(%(run_ids)s::bigint[]) AND r.id = i.run_id
        AND r.attempt = i.attempt AND r.claim_token = i.token AND r.state = 'running'
    RETURNING r.id, r.attempt, r.state, r.reason, r.worker, r.started_at, r.job_id, r.lane
), kept AS (
    INSERT INTO jobs_attempt (
        run_id, number, verdict, reason, exit_code, signal, http_status, error, result, warning, worker, claim_token,
        started_at, finished_at, output, output_total, sections, killed, processes)
    SELECT i.run_id, i.attempt, i.verdict, i.attempt_reason, i.exit_code, i.signal, i.http_status, i.error, i.result,
        coalesce(i.warning, ''), s.worker, i.token, s.started_at, clock_timestamp(), i.output,
        i.output_total, i.sections, i.killed, i.processes
    FROM settled s JOIN i ON i.run_id = s.id
), noted AS (
    INSERT INTO jobs_transition (run_id, at, before, after, reason, attempt, actor)
    SELECT id, clock_timestamp(), 'running', state, reason, attempt, %(actor)s FROM settled
), swept AS (
    DELETE FROM jobs_outputchunk c USING settled s
    WHERE c.run_id = ANY(%(flushed)s::bigint[]) AND c.run_id = s.id AND c.attempt = s.attempt
)"""

# Claimed are the best run, and with it those next in line that may share its batch.
_CLAIM = """
best AS MATERIALIZED (
    SELECT id, batchable, row_number() OVER (ORDER BY priority DESC, run_at, id) AS position
    FROM (
        SELECT id, batchable, priority, run_at FROM jobs_run
        WHERE state = 'queued' AND held = 0 AND queue = %(queue)s
            AND (expires_at IS NULL OR expires_at > clock_timestamp())
        ORDER BY priority DESC, run_at, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ) AS line
), chosen AS (
    SELECT id FROM best
    WHERE position = 1 OR position < coalesce((SELECT min(position) FROM best WHERE NOT batchable), 1000000)
), claimed AS (
    UPDATE jobs_run SET
        state = 'running', reason = '', attempt = attempt + 1, claim_token = %(token)s,
        lease_until = clock_timestamp() + %(lease)s, worker = %(worker)s, started_at = clock_timestamp(),
        batchable = batchable AND (SELECT count(*) FROM chosen) > 1
    WHERE id = ANY(ARRAY(SELECT id FROM chosen))
    RETURNING id, attempt, handed_back, definition_id, params, in_process, scheduled_for, started_at, priority, run_at,
        deadline_at
), taken AS (
    INSERT INTO jobs_transition (run_id, at, before, after, reason, attempt, actor)
    SELECT id, clock_timestamp(), 'queued', 'running', '', attempt, %(worker)s FROM claimed
)"""

_RECORDED_ROWS = (
    "SELECT id, state, NULL::int, NULL::int, job_id, NULL::jsonb, NULL::boolean, "
    "NULL::timestamptz, NULL::timestamptz, NULL::smallint, NULL::timestamptz, NULL::timestamptz, lane FROM settled"
)
_CLAIMED_ROWS = (
    "SELECT id, NULL::text, attempt, handed_back, definition_id, params, in_process, scheduled_for, "
    "started_at, priority, run_at, deadline_at, NULL::text FROM claimed"
)

_STATEMENTS = {
    (True, False): f"WITH {_SETTLE} {_RECORDED_ROWS}",
    (False, True): f"WITH {_CLAIM} {_CLAIMED_ROWS}",
    (True, True): f"WITH {_SETTLE}, {_CLAIM} {_RECORDED_ROWS} UNION ALL {_CLAIMED_ROWS}",
}


def settle_and_claim(
    execute: Execute, settlements: Sequence[Settlement], request: ClaimRequest | None, *, actor: str
) -> Settled:
    """Record ended attempts and claim the next runs of a queue, in one statement and so in one commit.

    A settlement missing from the answer's `recorded` was refused by the fence. Raises Refused when one of them
    cannot be stored, and Unavailable when the connection failed, in which case it may or may not have happened:
    ask `unsettled` and `claimed_as`.
    """
    if not settlements and request is None:
        return Settled()
    params: dict[str, Any] = {}
    if settlements:
        params |= {
            "settlements": _as_json_text(settlements),
            "run_ids": [s.run_id for s in settlements],
            "flushed": [s.run_id for s in settlements if s.flushed],
            "actor": actor,
        }
    if request:
        params |= {
            "queue": request.queue,
            "limit": request.limit,
            "token": request.token,
            "lease": request.lease,
            "worker": request.worker,
        }
    rows = execute(_STATEMENTS[bool(settlements), request is not None], params)
    recorded = {row[0]: State(row[1]) for row in rows if row[1] is not None}
    # RETURNING keeps no order; the order of work is that of the line.
    claimed = sorted((row for row in rows if row[1] is None), key=lambda row: (-row[9], row[10], row[0]))
    return Settled(
        recorded=recorded,
        freed={(row[4], row[12]) for row in rows if row[1] not in (None, State.QUEUED) and row[12] is not None},
        claims=[_claim(row, request) for row in claimed if request],
    )


def _claim(row: tuple[Any, ...], request: ClaimRequest) -> Claim:
    return Claim(
        run_id=row[0],
        attempt=row[2],
        token=request.token,
        handed_back=row[3],
        definition_id=row[4],
        queue=request.queue,
        params=row[5],
        in_process=row[6],
        scheduled_for=row[7],
        started_at=row[8],
        deadline_at=row[11],
    )


def _as_json_text(settlements: Sequence[Settlement]) -> str:
    try:
        return storable(json.dumps([_as_json(s) for s in settlements], allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise Refused(f"it is no JSON that can be stored: {error}") from error


def _as_json(settlement: Settlement) -> dict[str, Any]:
    return {
        name: str(value) if isinstance(value := getattr(settlement, name), UUID) else value
        for name in settlement.__slots__
    }


def unsettled(execute: Execute, settlements: Sequence[Settlement]) -> list[Settlement]:
    """After an ambiguous error: those settlements whose claim still stands, so that they were not recorded."""
    rows = execute(
        "SELECT id, attempt, claim_token FROM jobs_run WHERE id = ANY(%(ids)s::bigint[]) AND state = 'running'",
        {"ids": [s.run_id for s in settlements]},
    )
    standing = set(rows)
    return [s for s in settlements if (s.run_id, s.attempt, s.token) in standing]


def claimed_as(execute: Execute, request: ClaimRequest) -> list[Claim]:
    """After an ambiguous error: the runs that were claimed with the request's token, in order of work."""
    rows = execute(
        """
        SELECT id, NULL, attempt, handed_back, definition_id, params, in_process, scheduled_for, started_at,
            priority, run_at, deadline_at
        FROM jobs_run WHERE state = 'running' AND claim_token = %(token)s ORDER BY priority DESC, run_at, id
        """,
        {"token": request.token},
    )
    return [_claim(row, request) for row in rows]


# Neither commit waits for the disk. A crash of the database, or a fail-over, may take the last of these back. So beats
# judge no lease until a whole lease after it (see jobs/store/beatwatch.py), and a worker may renew a lease that has
# ended by this record, as long as its attempt was not reaped: then nobody else can hold the run.
_HEARTBEAT = """
UPDATE jobs_run r SET lease_until = clock_timestamp() + %(lease)s
WHERE r.id = %(id)s AND r.attempt = %(attempt)s AND r.claim_token = %(token)s
    AND r.state = 'running'
RETURNING r.id, r.attempt, r.cancel_requested_at IS NOT NULL, set_config('synchronous_commit', 'off', true)
"""

# Rows that somebody is changing are passed over: who holds several must not wait for one of them.
_HEARTBEATS = """
WITH held AS (
    SELECT r.id FROM unnest(%(ids)s::bigint[], %(attempts)s::int[], %(tokens)s::uuid[]) AS h(id, attempt, token)
    JOIN jobs_run r ON r.id = h.id AND r.attempt = h.attempt AND r.claim_token = h.token
    WHERE r.id = ANY(%(ids)s::bigint[]) AND r.state = 'running'
    FOR NO KEY UPDATE OF r SKIP LOCKED
)
UPDATE jobs_run r SET lease_until = clock_timestamp() + %(lease)s
WHERE r.id = ANY(ARRAY(SELECT id FROM held))
RETURNING r.id, r.attempt, r.cancel_requested_at IS NOT NULL, set_config('synchronous_commit', 'off', true)
"""


class Held(Protocol):
    """What tells that one holds a run: which attempt of it, and the claim's token.

    Two slots of one worker may hold attempts of the same run, of which one is lost and does not know it yet.
    """

    @property
    def run_id(self) -> int: ...
    @property
    def attempt(self) -> int: ...
    @property
    def token(self) -> UUID: ...


def heartbeat(execute: Execute, claims: Sequence[Held], *, lease: timedelta) -> dict[tuple[int, int], bool]:
    """Renew the leases of claims that still stand. Return whether the cancel of each was requested, by run and attempt.

    A single claim that is missing from the answer is lost: it was reaped, and another attempt may hold the run. One of
    several may also have been passed over because its run was being changed; ask for it alone to know.
    """
    if len(claims) == 1:
        [claim] = claims
        rows = execute(_HEARTBEAT, {"lease": lease, "id": claim.run_id, "attempt": claim.attempt, "token": claim.token})
    else:
        rows = execute(
            _HEARTBEATS,
            {
                "lease": lease,
                "ids": [claim.run_id for claim in claims],
                "attempts": [claim.attempt for claim in claims],
                "tokens": [claim.token for claim in claims],
            },
        )
    return {(id, attempt): cancelled for id, attempt, cancelled, _ in rows}


def record_begin(execute: Execute, claim: Held) -> None:
    """Record that a run of a batch of in-process runs has begun. Without effect once the claim is lost."""
    execute(
        """
        UPDATE jobs_run SET batchable = false
        WHERE id = %(id)s AND attempt = %(attempt)s AND claim_token = %(token)s AND state = 'running'
        """,
        {"id": claim.run_id, "attempt": claim.attempt, "token": claim.token},
    )


def definition(execute: Execute, definition_id: int) -> tuple[str, str, dict[str, Any]]:
    """Return project name, job name and content of a definition."""
    [(project, job, content)] = execute(
        """
        SELECT p.name, j.name, d.content FROM jobs_definition d
        JOIN jobs_job j ON j.id = d.job_id JOIN jobs_project p ON p.id = j.project_id
        WHERE d.id = %(id)s
        """,
        {"id": definition_id},
    )
    return project, job, content
