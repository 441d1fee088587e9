"""Many runs at once, while others work on the same runs: real connections, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event
from typing import Any

import pytest
from django.db import connection, transaction

from jobs.models import Job, Run
from jobs.models.runfilter import RunFilter
from jobs.services import bulk, control
from jobs.store import births, claims, retries
from jobs.store.births import Birth
from jobs.store.claims import Settlement
from jobs.store.session import Session, django_connection
from jobsched.domain.states import State
from tests.integration.conftest import claim_next
from tests.processes import wait_for

DEAD = RunFilter(states=frozenset({State.FAILED}))


@pytest.fixture
def fail(session: Session) -> Callable[[int], list[int]]:
    """Perform the next runs of the queue, all of which fail."""

    def do(count: int) -> list[int]:
        claimed = [claim_next(session)[0] for _ in range(count)]
        ended = [
            Settlement(
                run_id=claim.run_id,
                attempt=claim.attempt,
                token=claim.token,
                after=State.FAILED,
                reason="",
                again_in_seconds=None,
                verdict="failed",
            )
            for claim in claimed
        ]
        claims.settle_and_claim(session, ended, None, actor="slot-1")
        return [claim.run_id for claim in claimed]

    return do


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Make calls in threads of their own, each with a connection of its own, and return what they returned."""

    def call(one: Callable[[], Any]) -> Any:
        try:
            return one()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as threads:
        return [done.result(timeout=60) for done in [threads.submit(call, one) for one in calls]]


def test_two_who_retry_at_once_make_one_retry_a_run(
    make_runs: Callable[..., list[Run]], fail: Callable[[int], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_runs(20)
    failed = fail(20)
    both_have_looked = Barrier(2, timeout=30)
    lock = retries.lock

    def lock_together(execute: Any, run_ids: Sequence[int]) -> None:
        both_have_looked.wait()
        lock(execute, run_ids)

    monkeypatch.setattr(retries, "lock", lock_together)
    done = at_once(lambda: bulk.retry(DEAD, actor="ann"), lambda: bulk.retry(DEAD, actor="bob"))
    assert sorted(one.made for one in done) == [0, 20]
    again = Run.objects.filter(trigger="retry").order_by("retry_of")
    assert list(again.values_list("retry_of", flat=True)) == failed


def test_what_begins_before_its_turn_is_not_cancelled_as_waiting(
    make_runs: Callable[..., list[Run]], session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_runs(3)
    lock = retries.lock
    begun: list[int] = []

    def lock_late(execute: Any, run_ids: Sequence[int]) -> None:
        begun.append(claim_next(session)[0].run_id)
        lock(execute, run_ids)

    monkeypatch.setattr(retries, "lock", lock_late)
    done = bulk.cancel(RunFilter(states=frozenset({State.QUEUED})), actor="ann")
    assert (done.ended, done.asked) == (2, 0)
    assert Run.objects.get(pk=begun[0]).cancel_requested_at is None


def test_workers_go_on_while_a_thousand_runs_are_cancelled(
    make_runs: Callable[..., list[Run]], session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "BATCH", 50)
    total = 1000
    make_runs(total)

    def work() -> int:
        begun = 0
        own = Session()
        while claim_next(own):
            begun += 1
        own.close()
        return begun

    done, begun = at_once(lambda: bulk.cancel(RunFilter(job="Noop"), actor="ann", limit=total), work)
    states = {state: Run.objects.filter(state=state).count() for state in ("cancelled", "running", "queued")}
    assert states == {"cancelled": done.ended, "running": begun, "queued": 0}
    assert done.ended + begun == total
    assert Run.objects.exclude(cancel_requested_at=None).count() == done.ended + done.asked


def test_a_batch_that_crosses_with_somebody_elses_is_done_once_more(make_runs: Callable[..., list[Run]]) -> None:
    low, high = (run.pk for run in make_runs(2))
    holding = Event()

    def waits_for_us() -> bool:
        # Not pg_stat_activity: what it shows stays the same until the end of a transaction.
        return bool(django_connection("SELECT count(*) FROM pg_locks WHERE NOT granted", {})[0][0])

    def record_in_another_order() -> None:
        with transaction.atomic():
            django_connection("SET LOCAL deadlock_timeout = '30s'", {})  # so that it is the cancel that gives way
            Run.objects.filter(pk=high).update(priority=1)
            holding.set()
            wait_for(waits_for_us, what="the cancel met the lock")
            Run.objects.filter(pk=low).update(priority=1)

    def cancel() -> bulk.CancelledMany:
        assert holding.wait(30)
        return bulk.cancel(RunFilter(job="Noop"), actor="ann")

    _, done = at_once(record_in_another_order, cancel)
    assert (done.ended, done.asked) == (2, 0)
    assert set(Run.objects.values_list("state", "priority")) == {("cancelled", 1)}


def test_a_batch_that_fails_leaves_those_before_it_done_and_counted(
    make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "BATCH", 2)
    job = make_job("One", max_running=1, overlap="queue")
    runs = control.trigger_many(job="One", count=6, actor="ann", priority=1)
    Run.objects.filter(pk=runs[0].pk).update(priority=0)
    calls = 0
    lock = retries.lock

    def lock_twice(execute: Any, run_ids: Sequence[int]) -> None:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise ConnectionError("gone")
        lock(execute, run_ids)

    monkeypatch.setattr(retries, "lock", lock_twice)
    with pytest.raises(ConnectionError):
        bulk.cancel(RunFilter(job_id=job.pk), actor="ann")
    assert [run.state for run in Run.objects.order_by("pk")] == ["queued"] * 2 + ["cancelled"] * 4


def test_a_retry_keeps_the_order_of_what_it_repeats_within_a_batch(
    make_runs: Callable[..., list[Run]], fail: Callable[[int], list[int]]
) -> None:
    make_runs(5)
    failed = fail(5)
    bulk.retry(DEAD, actor="ann")
    assert list(Run.objects.filter(trigger="retry").order_by("pk").values_list("retry_of", flat=True)) == failed


def test_a_retry_that_fails_at_once_is_not_retried_by_the_same_walk(
    make_runs: Callable[..., list[Run]], fail: Callable[[int], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "BATCH", 1)
    make_runs(3)
    fail(3)
    made = 0
    following: int | None = None
    for _ in range(10):
        done = bulk.retry(DEAD, actor="ann", before=following, limit=1)
        made, following = made + done.made, done.next
        if done.made:
            fail(1)
        if following is None:
            break
    assert made == 3


def test_a_skipped_retry_repeats_nothing(job: Job, make_runs: Callable[..., list[Run]]) -> None:
    old = make_runs(1, skip_reason="missed")[0]
    births.create(
        django_connection, [Birth(job_id=job.pk, trigger="retry", retry_of=old.pk, skip_reason="overlap: it ran")]
    )
    skipped = RunFilter(states=frozenset({State.SKIPPED}), retried=False)
    assert old.pk in skipped.of(Run.objects.all()).values_list("pk", flat=True)
