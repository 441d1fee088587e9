"""Limits of jobs and queues: who may go, decided under a lock that all workers and beats share.

Order of locks, so that nobody meets in a deadlock: a job's gate first, then its runs. Whoever holds runs asks for
no gate; it calls `admit` once its own transaction is over.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jobs.models import Run
from jobs.store import births, control
from jobs.store.births import Birth, Born
from jobs.store.claims import Lane
from jobs.store.session import Execute
from jobsched.domain import concurrency
from jobsched.domain.errors import InvalidInput
from jobsched.domain.states import State


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a job says of runs beside each other. `params` are its own, under those of a request."""

    job_id: int
    overlap: str
    concurrency_key: str
    unique_waiting: bool
    params: dict[str, Any]


@dataclass(kw_only=True, slots=True)
class _Standing:
    """Runs of a lane: the first that waits, and the first that has not ended."""

    waiting: int | None = None
    active: int | None = None
    of_this_call: bool = False


@dataclass(kw_only=True, slots=True)
class Made:
    """What became of births."""

    born: list[Born]
    instead: list[int]
    """Runs that wait already, and stand for requests of unique jobs."""
    asked_to_end: bool
    """Running runs were asked to end: workers should be notified."""
    ready: Counter[str]
    """Runs that may be claimed now, by queue."""


def lockable(execute: Execute, job_ids: Collection[int]) -> set[int]:
    """Lock the gates of jobs as `lock` does, but for those that somebody else holds on to. Return which were locked."""
    rows = execute(
        "SELECT i.job FROM unnest(%(ids)s::bigint[]) AS i(job) WHERE jobs_lock_gate(i.job)",
        {"ids": sorted(set(job_ids))},
    )
    return {id for (id,) in rows}


def lock(execute: Execute, job_ids: Collection[int]) -> dict[int, Limits]:
    """Lock the gates of jobs until the end of the transaction, and return what the jobs say now."""
    ids = sorted(set(job_ids))
    execute("INSERT INTO jobs_gate (job_id) SELECT unnest(%(ids)s::bigint[]) ON CONFLICT DO NOTHING", {"ids": ids})
    execute(
        "SELECT FROM jobs_gate WHERE job_id = ANY(%(ids)s::bigint[]) ORDER BY job_id FOR UPDATE",
        {"ids": ids},
    )
    rows = execute(
        """
        SELECT j.id, j.overlap, j.concurrency_key, j.unique_waiting, j.params::text
        FROM jobs_job j WHERE j.id = ANY(%(ids)s::bigint[])
        """,
        {"ids": ids},
    )
    return {
        id: Limits(job_id=id, overlap=overlap, concurrency_key=key, unique_waiting=unique, params=json.loads(params))
        for id, overlap, key, unique, params in rows
    }


def create(execute: Execute, wanted: Sequence[Birth]) -> Made:
    """Make runs of limited jobs as their overlap rules say. Call inside a transaction.

    Raises InvalidInput when a concurrency key needs a parameter that is not given; an instant of a schedule is
    skipped then.
    """
    said = lock(execute, [birth.job_id for birth in wanted])
    placed = [_placed(birth, said[birth.job_id]) for birth in wanted if birth.job_id in said]
    standing = _standing(execute, placed, said)
    keep: list[Birth] = []
    instead: list[int] = []
    replaced: dict[Lane, Birth] = {}
    for birth in placed:
        decided, waits_already = _decide(birth, said[birth.job_id], standing)
        if waits_already:
            instead += [waits_already] * (waits_already not in instead)
        elif decided:
            keep.append(decided)
            lane = (birth.job_id, birth.lane or "")
            if decided.skip_reason is None and said[birth.job_id].overlap == "replace" and birth.trigger != "backfill":
                if lane in replaced:
                    keep[keep.index(replaced[lane])] = replace(replaced[lane], skip_reason="overlap: replaced at once")
                replaced[lane] = decided
    asked_to_end = _end(execute, replaced.keys())
    born = births.create(execute, keep)
    lanes = {(b.job_id, b.lane) for b in born if b.held == Run.Held.JOB and b.lane is not None}
    ready = admit(execute, lanes | set(replaced))
    ready.update(b.queue for b in born if b.state is State.QUEUED and b.held == Run.Held.NO)
    return Made(born=born, instead=instead, asked_to_end=asked_to_end, ready=ready)


def make(execute: Execute, wanted: Sequence[Birth], *, limited: bool) -> Made:
    """Make runs of jobs that are limited, inside a transaction and as `create` does, or of jobs that are not.

    Those that are not need no transaction around their one statement. Where a queue has a rate, it is asked at once.
    """
    if limited:
        return create(execute, wanted)
    born = births.create(execute, wanted)
    ready = Counter(b.queue for b in born if b.state is State.QUEUED and b.held == Run.Held.NO)
    ready.update(admit(execute, (), {b.queue for b in born if b.held == Run.Held.QUEUE}))
    return Made(born=born, instead=[], asked_to_end=False, ready=ready)


def _placed(birth: Birth, said: Limits) -> Birth:
    if birth.lane is not None:
        return birth
    given = {**said.params, **(birth.params or {})}
    try:
        return replace(birth, lane=concurrency.render(said.concurrency_key, given) if said.concurrency_key else "")
    except InvalidInput as error:
        if birth.trigger != Run.Trigger.SCHEDULE:
            raise
        # There is no caller to report it to, and other schedules fire in the same transaction.
        return replace(birth, lane="", skip_reason=str(error))


def _standing(execute: Execute, placed: Sequence[Birth], said: dict[int, Limits]) -> dict[Lane, _Standing]:
    asked = sorted(
        {
            (birth.job_id, birth.lane or "")
            for birth in placed
            if said[birth.job_id].overlap == "skip" or said[birth.job_id].unique_waiting
        }
    )
    if not asked:
        return {}
    rows = execute(
        """
        SELECT i.job, i.lane,
            min(r.id) FILTER (WHERE r.state <> 'running' AND r.attempt = 0),
            min(r.id) FILTER (WHERE r.state <> 'scheduled' OR r.attempt > 0)
        FROM unnest(%(jobs)s::bigint[], %(lanes)s::text[]) AS i(job, lane)
        JOIN jobs_run r ON r.job_id = i.job AND r.held IN (0, 1, 2) AND r.lane = i.lane
            AND r.lane IS NOT NULL AND r.state IN ('scheduled', 'queued', 'running')
        GROUP BY i.job, i.lane
        """,
        {"jobs": [job for job, _ in asked], "lanes": [lane for _, lane in asked]},
    )
    found = {(job, lane): _Standing(waiting=waiting, active=active) for job, lane, waiting, active in rows}
    return {lane: found.get(lane, _Standing()) for lane in asked}


def _decide(birth: Birth, said: Limits, standing: dict[Lane, _Standing]) -> tuple[Birth | None, int | None]:
    """Return the birth as it will be, or the run that waits already in its place, or neither."""
    there = standing.get((birth.job_id, birth.lane or ""))
    if there is None or birth.skip_reason is not None or birth.trigger == Run.Trigger.BACKFILL:
        return birth, None
    if said.unique_waiting and (there.waiting or there.of_this_call):
        if birth.schedule_id is None:
            return None, there.waiting
        which = f"run {there.waiting}" if there.waiting else "another run"
        return replace(birth, skip_reason=f"unique: {which} waits already"), None
    if said.overlap == "skip" and (there.active or there.of_this_call):
        which = f"run {there.active}" if there.active else "the run before it"
        return replace(birth, skip_reason=f"overlap: {which} had not ended"), None
    there.of_this_call = True
    return birth, None


def _end(execute: Execute, lanes: Iterable[Lane]) -> bool:
    """Cancel what stands in these lanes, but for what was requested for later, and backfills: they stand for their own
    instants. Return whether any of it runs.
    """
    asked = list(lanes)
    if not asked:
        return False
    rows = execute(
        """
        SELECT r.id FROM unnest(%(jobs)s::bigint[], %(lanes)s::text[]) AS i(job, lane)
        JOIN jobs_run r ON r.job_id = i.job AND r.held IN (0, 1, 2) AND r.lane = i.lane
            AND r.lane IS NOT NULL AND r.state IN ('scheduled', 'queued', 'running')
        WHERE (r.state <> 'scheduled' OR r.attempt > 0) AND r.trigger <> 'backfill'
        """,
        {"jobs": [job for job, _ in asked], "lanes": [lane for _, lane in asked]},
    )
    states = control.cancel(execute, [id for (id,) in rows], actor="a newer run that replaces it").states
    return State.RUNNING in states.values()


def admit(execute: Execute, lanes: Collection[tuple[int, str | None]], queues: Collection[str] = ()) -> Counter[str]:
    """Let waiting runs go as far as the limits allow, after lanes were freed or filled. Without a name, all of a job's.

    Return how many may be claimed now, by queue.
    """
    ready: Counter[str] = Counter()
    if lanes:
        ordered = sorted(lanes)
        rows = execute(
            """
            SELECT a.freed_queue, a.runs
            FROM unnest(%(jobs)s::bigint[], %(lanes)s::text[]) AS i(job, lane), jobs_admit(i.job, i.lane) AS a
            """,
            {"jobs": [job for job, _ in ordered], "lanes": [lane for _, lane in ordered]},
        )
        for queue, runs in rows:
            ready[queue] += runs
    if queues:
        rows = execute("SELECT q, jobs_admit_queue(q) FROM unnest(%(queues)s::text[]) AS q", {"queues": sorted(queues)})
        ready.update({queue: runs for queue, runs in rows if runs})
    return ready


def admit_all(execute: Execute) -> Counter[str]:
    """Do the same for every job and queue that has runs waiting: what nobody else let go, and what rates allow now.

    Costs two index probes for each such job or queue, however many runs wait.
    """
    jobs = execute(
        """
        WITH RECURSIVE waiting AS (
            SELECT (SELECT job_id FROM jobs_run WHERE state = 'queued' AND held = 2 ORDER BY job_id LIMIT 1) AS job
            UNION ALL
            SELECT (SELECT job_id FROM jobs_run WHERE state = 'queued' AND held = 2 AND job_id > w.job
                    ORDER BY job_id LIMIT 1)
            FROM waiting w WHERE w.job IS NOT NULL
        )
        SELECT w.job FROM waiting w LEFT JOIN jobs_gate g ON g.job_id = w.job
        WHERE w.job IS NOT NULL AND (g.next_at IS NULL OR g.next_at <= clock_timestamp())
        """,
        {},
    )
    ready = admit(execute, [(job, None) for (job,) in jobs])  # first: some then wait for their queue's rate
    queues = execute(
        """
        WITH RECURSIVE waiting AS (
            SELECT (SELECT queue FROM jobs_run WHERE state = 'queued' AND held = 1 ORDER BY queue LIMIT 1) AS queue
            UNION ALL
            SELECT (SELECT queue FROM jobs_run WHERE state = 'queued' AND held = 1 AND queue > w.queue
                    ORDER BY queue LIMIT 1)
            FROM waiting w WHERE w.queue IS NOT NULL
        )
        SELECT queue FROM waiting WHERE queue IS NOT NULL
        """,
        {},
    )
    ready.update(admit(execute, (), [queue for (queue,) in queues]))
    return ready
