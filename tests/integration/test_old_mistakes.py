"""Mistakes that other schedulers shipped. Each is a test here, so that it does not become one of ours."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import psutil
import pytest
from django.db import connection

import tests.sample_callables  # noqa: F401 - this process must know them to save a job
from jobs.conf import conf
from jobs.models import Attempt, Job, Run, Transition
from jobs.services import control, definitions, recovery
from jobs.store import claims
from jobs.store import recovery as expiry
from jobs.store.claims import Claim, Settlement
from jobs.store.session import Session
from jobsched.domain.manifest import parse_job
from jobsched.domain.states import FINISHED, State
from tests.integration.conftest import claim_next
from tests.integration.test_claims import ended
from tests.processes import Process, wait_for

SHORT_LEASE = {"JOBSCHED_LEASE_SECONDS": "4", "JOBSCHED_HEARTBEAT_SECONDS": "1"}
RACES = 40


def lost_claim(session: Session, job: Job) -> Claim:
    """Claim a run of the job with a lease that is over already."""
    control.trigger(job=job.name, actor="test")
    [claim] = claim_next(session, lease_seconds=-1)
    return claim


def record(session: Session, settlement: Settlement) -> dict[int, State]:
    return claims.settle_and_claim(session, [settlement], None, actor="slot-1").recorded


def ends_of(run_id: int) -> list[str]:
    return list(Transition.objects.filter(run_id=run_id, before="running").values_list("after", flat=True))


# -- a worker whose heartbeat was late while it finished: finished, and failed at once ------------------------------


def test_a_run_that_finishes_while_its_lease_is_judged_has_one_end(
    session: Session, make_job: Callable[..., Job]
) -> None:
    job = make_job(on_lost="fail")
    ends = set()
    for _ in range(RACES):
        claim = lost_claim(session, job)
        together = threading.Barrier(2)

        def judge(together: threading.Barrier = together) -> None:
            together.wait()
            recovery.reap()
            connection.close()

        judging = threading.Thread(target=judge)
        judging.start()
        together.wait()
        recorded = record(session, ended(claim))
        judging.join()

        run = Run.objects.get(pk=claim.run_id)
        [attempt] = Attempt.objects.filter(run=run)
        assert ends_of(run.pk) == [run.state]
        assert (run.state, attempt.verdict, bool(recorded)) in {
            ("succeeded", "succeeded", True),
            ("failed", "lost", False),
        }
        ends.add(run.state)
    print(f"who came first: {ends}")


def test_a_result_that_comes_after_the_lease_but_before_the_judge_counts(
    session: Session, make_job: Callable[..., Job]
) -> None:
    claim = lost_claim(session, make_job(on_lost="fail"))

    assert record(session, ended(claim)) == {claim.run_id: State.SUCCEEDED}
    assert recovery.reap() == 0
    assert Run.objects.get(pk=claim.run_id).state == "succeeded"


# -- a worker alive for ever, but unregistered, because its heartbeat raised ----------------------------------------


@pytest.mark.parametrize("kind", ["isolated", "in process"])
def test_a_worker_whose_heartbeat_raises_ends_that_work_and_goes_on(
    kind: str, transactional_db: None, start_worker: Callable[..., Process], start_beat: Callable[..., Process]
) -> None:
    marker = "32401.77"
    what: dict[str, Any] = (
        {"run": f'test "$JOBSCHED_ATTEMPT" -gt 1 || sleep {marker}'}
        if kind == "isolated"
        else {"call": "sample.trusted-slow", "params": {"seconds": 8}}
    )
    definitions.save(parse_job({"name": "Job", "retries": {"max": 5, "backoff": "0s"}, **what}), actor="test")
    imports = {"JOBSCHED_IMPORTS": "tests.sample_callables,tests.chaos.sick_heartbeat"}
    start_beat(env=SHORT_LEASE)
    worker = start_worker(env={**SHORT_LEASE, **imports})
    run = control.trigger(job="Job", actor="test")

    wait_for(lambda: Run.objects.filter(pk=run.pk, state__in=FINISHED).exists(), timeout=90, what="the end of the run")

    assert "the heart skipped a beat" in worker.log()
    assert Run.objects.get(pk=run.pk).state == "succeeded"
    assert not [p for p in psutil.process_iter(["cmdline"]) if marker in (p.info["cmdline"] or [])]


# -- a fence that began again at 1 after a reclaim ------------------------------------------------------------------


def test_attempts_are_counted_on_whatever_ended_the_one_before(session: Session, make_job: Callable[..., Job]) -> None:
    job = make_job(retries={"max": 5, "backoff": "0s"})
    first = lost_claim(session, job)
    recovery.reap()
    recovery.promote()
    [second] = claim_next(session)
    record(session, ended(second, State.QUEUED, verdict="handed_back", handed_back=True))
    [third] = claim_next(session)
    record(session, ended(third, State.SCHEDULED, verdict="failed", again_in_seconds=0.0))
    recovery.promote()
    [fourth] = claim_next(session)

    assert [claim.attempt for claim in (first, second, third, fourth)] == [1, 2, 3, 4]
    for stale in (first, second, third):
        assert claims.heartbeat(session, [stale], lease=conf().lease) == {}
        assert record(session, ended(stale)) == {}
    assert record(session, ended(fourth)) == {first.run_id: State.SUCCEEDED}
    assert list(Attempt.objects.filter(run_id=first.run_id).order_by("number").values_list("number", "verdict")) == [
        (1, "lost"),
        (2, "handed_back"),
        (3, "failed"),
        (4, "succeeded"),
    ]


# -- a check for zombies that failed a run which had succeeded ------------------------------------------------------


def test_a_judge_who_comes_too_late_changes_nothing(
    session: Session, other_session: Session, make_job: Callable[..., Job]
) -> None:
    claim = lost_claim(session, make_job(on_lost="fail"))
    [found] = expiry.lock_expired(
        other_session, lease=conf().lease, limit=10
    )  # autocommit: its lock is gone, as after a lost connection

    assert record(session, ended(claim)) == {claim.run_id: State.SUCCEEDED}
    verdict = recovery.lost(found, now=datetime.now(UTC), unit=0.5)
    assert record(other_session, verdict) == {}

    assert Run.objects.get(pk=claim.run_id).state == "succeeded"
    assert ends_of(claim.run_id) == ["succeeded"]


def test_a_judge_leaves_alone_what_is_being_recorded(session: Session, make_job: Callable[..., Job]) -> None:
    claim = lost_claim(session, make_job(on_lost="fail"))
    session("BEGIN", {})
    record(session, ended(claim))

    assert recovery.reap() == 0
    session("COMMIT", {})

    assert recovery.reap() == 0
    assert Run.objects.get(pk=claim.run_id).state == "succeeded"
