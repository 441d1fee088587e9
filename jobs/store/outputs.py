"""Output of attempts: kept in rows while it is new, then moved to the output store in chunks of half a MiB.

A row holds its bytes itself, or names the object of the output store that has them. The rows of an attempt in order
of `start` are its output; there is no other copy that has them joined. Output that fits into the row of its attempt
stands there when the attempt has ended, and has no rows here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from jobs.store.claims import Held
from jobs.store.session import Execute
from jobsched.domain.outcomes import Part

INLINE_BYTES: Final = 64 * 1024
"""Output that is no longer stands in the row of its attempt, if it is text that PostgreSQL can hold."""
CHUNK_BYTES: Final = 512 * 1024
"""A chunk is stored when so much of it is there, and is longer by less than one part."""


def is_storable_text(output: bytes) -> bool:
    """Tell whether PostgreSQL's text can hold output as it is."""
    if b"\0" in output:
        return False
    try:
        output.decode()
    except UnicodeDecodeError:
        return False
    return True


def keep(execute: Execute, claim: Held, part: Part) -> None:
    """Keep output of an attempt that is under way. Without effect once the claim is lost."""
    execute(
        """
        WITH holder AS (
            SELECT id, attempt FROM jobs_run
            WHERE id = %(id)s AND attempt = %(attempt)s AND claim_token = %(token)s AND state = 'running'
        ), replaced AS (
            DELETE FROM jobs_outputchunk c USING holder h
            WHERE c.run_id = h.id AND c.attempt = h.attempt AND c.key IS NULL
                AND c.start >= %(replaces_from)s AND c.start <> %(start)s
        )
        INSERT INTO jobs_outputchunk (run_id, attempt, start, size, data)
        SELECT id, attempt, %(start)s, %(size)s, %(data)s FROM holder
        ON CONFLICT (run_id, attempt, start) DO UPDATE SET size = excluded.size, data = excluded.data
        WHERE jobs_outputchunk.key IS NULL
        """,
        {
            "id": claim.run_id,
            "attempt": claim.attempt,
            "token": claim.token,
            "replaces_from": part.replaces_from,
            "start": part.start,
            "size": len(part.data),
            "data": part.data,
        },
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """Output of an attempt that is in the database and is to become a chunk of the output store."""

    run_id: int
    attempt: int
    start: int
    data: bytes

    @property
    def stop(self) -> int:
        """Return the offset behind its last byte."""
        return self.start + len(self.data)


def waiting(execute: Execute, run_id: int, attempt: int, *, start: int = 0, stop: int | None = None) -> Waiting | None:
    """Return the first output from `start` on that is not in the output store: up to a chunk of it, without gaps."""
    rows = execute(
        """
        WITH unstored AS (
            SELECT start, data FROM jobs_outputchunk
            WHERE run_id = %(run)s AND attempt = %(attempt)s AND key IS NULL AND start >= %(start)s
                AND (%(stop)s::bigint IS NULL OR start < %(stop)s)
        )
        SELECT start, data FROM unstored WHERE start < (SELECT min(start) FROM unstored) + %(chunk)s ORDER BY start
        """,
        {"run": run_id, "attempt": attempt, "start": start, "stop": stop, "chunk": CHUNK_BYTES},
    )
    if not rows:
        return None
    first, parts, following = rows[0][0], list[bytes](), rows[0][0]
    for begin, data in rows:
        if begin != following:
            break
        parts.append(data)
        following += len(data)
    return Waiting(run_id=run_id, attempt=attempt, start=first, data=b"".join(parts))


def record_stored(execute: Execute, chunk: Waiting, *, key: str, store: int | None) -> bool:
    """Let one row name the object that holds a chunk, in place of the rows that held its bytes. May be repeated.

    Return False if these rows are gone: the object then belongs to no attempt, and is to be deleted.
    """
    return bool(
        execute(
            """
            WITH rest AS (
                DELETE FROM jobs_outputchunk
                WHERE run_id = %(run)s AND attempt = %(attempt)s AND key IS NULL
                    AND start > %(start)s AND start < %(stop)s
            )
            UPDATE jobs_outputchunk SET data = NULL, key = %(key)s, size = %(size)s, store_id = %(store)s
            WHERE run_id = %(run)s AND attempt = %(attempt)s AND start = %(start)s
                AND (key IS NULL OR key = %(key)s)
            RETURNING 1
            """,
            {
                "run": chunk.run_id,
                "attempt": chunk.attempt,
                "start": chunk.start,
                "stop": chunk.stop,
                "size": len(chunk.data),
                "key": key,
                "store": store,
            },
        )
    )


def ended_with_waiting(execute: Execute, *, limit: int) -> list[tuple[int, int]]:
    """Return run and number of attempts that have ended and of which output is not in the output store."""
    return execute(
        """
        SELECT DISTINCT c.run_id, c.attempt FROM jobs_outputchunk c
        JOIN jobs_attempt a ON a.run_id = c.run_id AND a.number = c.attempt
        WHERE c.key IS NULL ORDER BY 1, 2 LIMIT %(limit)s
        """,
        {"limit": limit},
    )


def register_store(execute: Execute, token: UUID, *, host: str) -> int:
    """Note that the worker's host keeps output in the store with this token now, and return the store's number."""
    [(number,)] = execute(
        """
        INSERT INTO jobs_outputstore (token, host, seen_at) VALUES (%(token)s, %(host)s, clock_timestamp())
        ON CONFLICT (token) DO UPDATE SET host = excluded.host, seen_at = excluded.seen_at RETURNING id
        """,
        {"token": token, "host": host},
    )
    return int(number)


@dataclass(frozen=True, kw_only=True, slots=True)
class Unneeded:
    """A row of output that belongs to no attempt any more."""

    id: int
    key: str | None
    store: int | None


def unneeded(execute: Execute, *, stores: Sequence[int], limit: int) -> list[Unneeded]:
    """Return rows whose run or attempt was removed, but those whose objects are in other stores than `stores`."""
    rows = execute(
        """
        SELECT c.id, c.key, c.store_id FROM jobs_outputchunk c
        WHERE (c.store_id IS NULL OR c.store_id = ANY(%(stores)s::bigint[]))
            AND NOT EXISTS (
                SELECT FROM jobs_attempt a JOIN jobs_run r ON r.id = a.run_id
                WHERE a.run_id = c.run_id AND a.number = c.attempt)
            AND NOT EXISTS (
                SELECT FROM jobs_run r WHERE r.id = c.run_id AND r.attempt = c.attempt AND r.state = 'running')
        ORDER BY c.id LIMIT %(limit)s
        """,
        {"stores": list(stores), "limit": limit},
    )
    return [Unneeded(id=id, key=key, store=store) for id, key, store in rows]


def forget(execute: Execute, rows: Sequence[int]) -> None:
    """Delete rows whose objects have been deleted."""
    execute("DELETE FROM jobs_outputchunk WHERE id = ANY(%(ids)s::bigint[])", {"ids": list(rows)})


def named(execute: Execute, keys: Sequence[str]) -> set[str]:
    """Return those of `keys` that a row names."""
    rows = execute("SELECT key FROM jobs_outputchunk WHERE key = ANY(%(keys)s::text[])", {"keys": list(keys)})
    return {key for (key,) in rows}


def stores_in_use(execute: Execute) -> list[tuple[UUID, str]]:
    """Return token and host of each store on a host's disk that a worker has used within a day, the latest first."""
    return execute(
        """
        SELECT token, host FROM jobs_outputstore WHERE seen_at > clock_timestamp() - interval '1 day'
        ORDER BY seen_at DESC
        """,
        {},
    )
