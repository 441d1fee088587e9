"""A transaction held open for ten minutes, so that nothing is vacuumed, at 100 runs/s over a million ended runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import Final
from uuid import uuid4

import psycopg

from jobs.models import Job, Run
from jobs.services import definitions
from jobs.store import births, claims
from jobs.store.births import Birth
from jobs.store.claims import Claim, ClaimRequest, Settlement
from jobs.store.session import Session, django_connection
from jobsched.domain.manifest import parse_job
from jobsched.domain.outcomes import Verdict
from jobsched.domain.states import State
from tests.chaos.stage import Stage

NUMBER: Final = 16
_QUEUE: Final = "second"
_MEASURED: Final = "Measured"
_A_SECOND: Final = 100
_BATCH: Final = 10


def run(stage: Stage) -> None:
    """The suite itself claims and records, by the statements of a slot: how long each takes is what is asked."""
    seconds, rows = stage.scaled(600, 20), stage.scaled(1_000_000, 20_000)
    # Not one of the suite's jobs: nobody performs these runs, so they leave no lines for the checker to find.
    definitions.save(parse_job({"name": _MEASURED, "queue": _QUEUE, "run": "true"}), actor="chaos")
    stage.job("Fired", params={"seconds": 0.05})
    stage.start_beat()
    _make_history(stage, rows)
    stage.start_worker(concurrency=1)
    stage.every(1, job="Fired")
    with _pinned(stage), closing(Session()) as session:
        times = _claim_for(session, seconds)
    stage.no_more_fires()
    stage.wait_until_ended(60)
    parts = [times[len(times) * part // 5 : len(times) * (part + 1) // 5] for part in range(5)]
    stage.done(
        f"A snapshot was held for {seconds} s over {rows} ended runs, while {len(times)} runs were made, claimed and "
        f"recorded, {len(times) / seconds:.0f} a second."
    )
    stage.limit("claim p99", _p99(times) * 1000, 50, "ms")
    stage.figure("claim p99 by fifths of the time", ", ".join(f"{_p99(part) * 1000:.1f}" for part in parts), "ms")
    stage.figure("claim median", sorted(times)[len(times) // 2] * 1000, "ms")
    [(delay,)] = stage.query(
        "SELECT extract(epoch FROM percentile_cont(0.99) WITHIN GROUP (ORDER BY started_at - scheduled_for))::float "
        "FROM jobs_run WHERE schedule_id IS NOT NULL AND started_at IS NOT NULL"
    )
    stage.figure("start of a fired run after its instant, p99", delay, "s")


def _make_history(stage: Stage, rows: int) -> None:
    """Copy one run, which was really performed, as often as wanted."""
    worker = stage.start_worker(concurrency=1, queues=[_QUEUE])
    [model] = [born.id for born in births.create(django_connection, [_measured()])]
    stage.wait_until_ended(60)
    worker.stop()
    with psycopg.connect(stage.database_url, autocommit=True) as connection:
        columns = ", ".join(
            name
            for (name,) in connection.execute(
                "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = 'jobs_run'::regclass "
                "AND attnum > 0 AND NOT attisdropped AND attname <> 'id' ORDER BY attnum"
            )
        )
        copy = f"INSERT INTO jobs_run ({columns}) SELECT {columns} FROM jobs_run, generate_series(1, %s) WHERE id = %s"
        connection.execute(copy.encode(), [rows, model])
        connection.execute("VACUUM ANALYZE jobs_run")
    [(stage.after_run,)] = stage.query("SELECT max(id) FROM jobs_run")


@contextmanager
def _pinned(stage: Stage) -> Iterator[None]:
    with psycopg.connect(stage.database_url) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT count(*) FROM jobs_project")
        yield
        connection.rollback()


def _claim_for(session: Session, seconds: float) -> list[float]:
    """Make, claim and record runs at an even pace. Return how long each claim took, in order."""
    birth = _measured()
    times: list[float] = []
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        if len(times) > passed * _A_SECOND:
            time.sleep(0.005)
            continue
        births.create(django_connection, [birth] * _BATCH)
        held: list[Claim] = []
        while True:
            request = ClaimRequest(
                token=uuid4(), queue=_QUEUE, limit=1, worker="measuring", lease=timedelta(seconds=60)
            )
            asked = time.perf_counter()
            settled = claims.settle_and_claim(session, [_succeeded(c) for c in held], request, actor="measuring")
            took = time.perf_counter() - asked
            held = settled.claims
            if not held:
                break
            times.append(took)
    return times


def _measured() -> Birth:
    return Birth(job_id=Job.objects.get(name=_MEASURED).pk, trigger=Run.Trigger.REQUEST)


def _succeeded(claim: Claim) -> Settlement:
    return Settlement(
        run_id=claim.run_id,
        attempt=claim.attempt,
        token=claim.token,
        after=State.SUCCEEDED,
        reason="",
        again_in_seconds=None,
        verdict=Verdict.SUCCEEDED,
    )


def _p99(times: list[float]) -> float:
    return sorted(times)[len(times) * 99 // 100]
