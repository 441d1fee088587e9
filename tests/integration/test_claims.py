"""Claims, fences and records, on real PostgreSQL with connections of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from jobs.models import Attempt, Job, OutputChunk, Run, Transition
from jobs.services import recovery
from jobs.store import births, claims, control
from jobs.store.births import Birth
from jobs.store.claims import Claim, Settlement
from jobs.store.session import Session, django_connection
from jobsched.domain.errors import Unavailable
from jobsched.domain.states import State
from tests.integration.conftest import claim_next, claim_request, keep_output

MakeRuns = Callable[..., list[Run]]


def ended(claim: Claim, after: State = State.SUCCEEDED, **fields: Any) -> Settlement:
    return Settlement(
        **{
            "run_id": claim.run_id,
            "attempt": claim.attempt,
            "token": claim.token,
            "after": after,
            "reason": "",
            "again_in_seconds": None,
            "verdict": "succeeded",
            **fields,
        }
    )


def path(run: Run) -> list[tuple[str | None, str]]:
    return list(Transition.objects.filter(run=run).order_by("id").values_list("before", "after"))


def test_the_best_run_is_claimed_first(session: Session, make_runs: MakeRuns) -> None:
    [low], [first], [urgent] = make_runs(priority=1), make_runs(), make_runs(priority=9)
    [second] = make_runs()

    order = [claim_next(session)[0].run_id for _ in range(4)]

    assert order == [urgent.pk, first.pk, second.pk, low.pk]


def test_a_claim_is_recorded_with_its_attempt_and_transitions(session: Session, make_runs: MakeRuns) -> None:
    [run] = make_runs()
    [claim] = claim_next(session)

    settled = claims.settle_and_claim(
        session, [ended(claim, result={"answer": 42}, output="hello", exit_code=0)], None, actor="slot-1"
    )

    assert settled.recorded == {run.pk: State.SUCCEEDED}
    run.refresh_from_db()
    assert (run.state, run.attempt, run.claim_token, run.lease_until) == ("succeeded", 1, None, None)
    assert run.finished_at is not None
    attempt = Attempt.objects.get(run=run)
    assert (attempt.number, attempt.result, attempt.output, attempt.worker) == (
        1,
        {"answer": 42},
        "hello",
        "slot-1",
    )
    assert path(run) == [(None, "queued"), ("queued", "running"), ("running", "succeeded")]


def test_recording_and_the_next_claim_share_a_statement(session: Session, make_runs: MakeRuns) -> None:
    first, second = make_runs(2)
    [claim] = claim_next(session)

    settled = claims.settle_and_claim(session, [ended(claim)], claim_request(), actor="slot-1")

    assert settled.recorded == {first.pk: State.SUCCEEDED}
    assert [c.run_id for c in settled.claims] == [second.pk]


def test_two_sessions_never_claim_the_same_run(make_runs: MakeRuns) -> None:
    runs = make_runs(60)
    taken: list[list[int]] = [[], [], []]

    def drain(mine: list[int]) -> None:
        session = Session()
        while got := claim_next(session):
            mine.extend(c.run_id for c in got)
        session.close()

    threads = [threading.Thread(target=drain, args=(mine,)) for mine in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    together = [run for mine in taken for run in mine]
    assert sorted(together) == [r.pk for r in runs]


@pytest.mark.parametrize("stolen", ["attempt", "token"])
def test_a_lost_claim_records_nothing(
    session: Session, other_session: Session, make_runs: MakeRuns, stolen: str
) -> None:
    [run] = make_runs()
    [old] = claim_next(session, lease_seconds=-1)
    # The reaper takes the run back, and another slot claims it.
    claims.settle_and_claim(
        django_connection,
        [ended(old, State.SCHEDULED, again_in_seconds=0, verdict="lost")],
        None,
        actor="beat",
    )
    Run.objects.filter(pk=run.pk).update(state="queued")
    [new] = claim_next(other_session)
    assert (new.attempt, new.run_id) == (2, run.pk)

    stale = ended(old, result="stale")
    if stolen == "token":  # even with the right number, the token decides
        stale = ended(old, result="stale", attempt=2)
    settled = claims.settle_and_claim(session, [stale], None, actor="slot-1")

    assert settled.recorded == {}
    run.refresh_from_db()
    assert (run.state, run.attempt, run.claim_token) == ("running", 2, new.token)
    assert not Attempt.objects.filter(result="stale").exists()


def test_an_attempt_number_never_goes_back(session: Session, make_runs: MakeRuns) -> None:
    [run] = make_runs()
    for expected in (1, 2, 3):
        [claim] = claim_next(session)
        assert claim.attempt == expected
        back = ended(claim, State.QUEUED, handed_back=True, verdict="handed_back")
        claims.settle_and_claim(session, [back], None, actor="slot-1")
    run.refresh_from_db()
    assert (run.attempt, run.handed_back, run.state) == (3, 3, "queued")
    assert claim_next(session)[0].tries == 1


def test_a_heartbeat_renews_only_what_stands(session: Session, make_runs: MakeRuns) -> None:
    alive, reaped = make_runs(2)
    [first] = claim_next(session)
    [second] = claim_next(session, lease_seconds=-1)
    assert (first.run_id, second.run_id) == (alive.pk, reaped.pk)
    assert recovery.reap() == 1

    standing = claims.heartbeat(session, [first, second], lease=timedelta(minutes=5))

    assert standing == {(alive.pk, 1): False}
    control.cancel(django_connection, [alive.pk], actor="ada")
    assert claims.heartbeat(session, [first], lease=timedelta(minutes=5)) == {(alive.pk, 1): True}


def test_a_lease_that_has_ended_is_renewed_unless_it_was_reaped(session: Session, make_runs: MakeRuns) -> None:
    """A crash of the database forgets the last renewals; then leases look as if they had ended."""
    make_runs(2)
    [alone] = claim_next(session, lease_seconds=-1)
    [other] = claim_next(session, lease_seconds=-1)

    assert claims.heartbeat(session, [alone], lease=timedelta(minutes=5)) == {(alone.run_id, 1): False}
    assert len(claims.heartbeat(session, [alone, other], lease=timedelta(minutes=5))) == 2

    assert recovery.reap() == 0
    assert Run.objects.filter(state="running", lease_until__gt=timezone.now() + timedelta(minutes=4)).count() == 2


def test_heartbeats_stay_hot(session: Session, make_runs: MakeRuns) -> None:
    make_runs(20)
    held = [claim_next(session)[0] for _ in range(20)]
    before = _updates(session)
    for _ in range(10):
        assert len(claims.heartbeat(session, held, lease=timedelta(seconds=30))) == 20
    after = _updates(session)
    assert after[0] - before[0] == 200
    assert after[1] - before[1] >= 190


def _updates(session: Session) -> tuple[int, int]:
    session("SELECT pg_stat_force_next_flush()", {})
    return session(  # type: ignore[return-value]
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'jobs_run'", {}
    )[0]


def test_in_process_runs_are_claimed_in_batches_up_to_the_first_other(
    session: Session, make_job: Callable[..., Job]
) -> None:
    fast = make_job("Fast", kind="python", spec={"call": "m:f"}, in_process=True)
    slow = make_job("Slow")
    births.create(
        django_connection,
        [Birth(job_id=j.pk, trigger="request") for j in (fast, fast, slow, fast, fast, slow, slow)],
    )

    sizes = []
    while got := claim_next(session, limit=10):
        sizes.append([c.in_process for c in got])

    assert sizes == [[True, True], [False], [True, True], [False], [False]]


def test_a_retry_waits_and_a_cancel_beats_it(session: Session, make_runs: MakeRuns) -> None:
    waits, dropped = make_runs(2)
    [first], [second] = claim_next(session), claim_next(session)
    control.cancel(django_connection, [dropped.pk], actor="ada")

    claims.settle_and_claim(
        session,
        [ended(c, State.SCHEDULED, again_in_seconds=60, verdict="failed", reason="again") for c in (first, second)],
        None,
        actor="slot-1",
    )

    waits.refresh_from_db()
    dropped.refresh_from_db()
    assert (waits.state, waits.reason, waits.finished_at) == ("scheduled", "again", None)
    assert waits.run_at > waits.created_at + timedelta(seconds=50)
    assert (dropped.state, dropped.reason) == ("cancelled", "cancelled by ada")
    assert claim_next(session) == []


def test_what_an_ambiguous_commit_did_can_be_found(session: Session, make_runs: MakeRuns) -> None:
    make_runs(3)
    [first], [second] = claim_next(session), claim_next(session)
    request = claim_request()
    claims.settle_and_claim(session, [ended(first)], request, actor="slot-1")  # its answer was lost, say

    assert claims.unsettled(session, [ended(first), ended(second)]) == [ended(second)]
    assert [c.token for c in claims.claimed_as(session, request)] == [request.token]
    assert claims.claimed_as(session, claim_request()) == []


def test_output_under_way_is_kept_for_the_holder_of_the_claim_only(session: Session, make_runs: MakeRuns) -> None:
    [run] = make_runs()
    [claim] = claim_next(session)
    keep_output(session, claim, 0, b"one \xff\x00")
    keep_output(session, claim, 6, b"two")
    assert [bytes(c.data) for c in OutputChunk.objects.filter(run=run).order_by("start")] == [
        b"one \xff\x00",
        b"two",
    ]

    claims.settle_and_claim(session, [ended(claim, flushed=True)], None, actor="slot-1")
    keep_output(session, claim, 9, b"late")

    assert not OutputChunk.objects.exists()


def test_short_output_of_an_attempt_replaces_no_output_of_an_earlier_one(session: Session, make_runs: MakeRuns) -> None:
    [run] = make_runs()
    [first] = claim_next(session)
    keep_output(session, first, 0, b"long output of the first attempt")
    claims.settle_and_claim(session, [ended(first, State.QUEUED)], None, actor="slot-1")
    [second] = claim_next(session)
    keep_output(session, second, 0, b"short")

    claims.settle_and_claim(session, [ended(second, flushed=True)], None, actor="slot-1")

    assert [c.attempt for c in OutputChunk.objects.filter(run=run)] == [first.attempt]


def test_a_session_survives_the_end_of_its_connection(session: Session, other_session: Session) -> None:
    [(pid,)] = session("SELECT pg_backend_pid()", {})
    other_session("SELECT pg_terminate_backend(%(pid)s)", {"pid": pid})

    with pytest.raises(Unavailable):
        session("SELECT 1", {})

    assert session("SELECT 1", {}) == [(1,)]


def test_claims_find_the_line_by_index_however_long_the_history(session: Session, make_runs: MakeRuns) -> None:
    make_runs(5)
    plan = session("EXPLAIN " + _claim_statement(), {**_claim_params()})
    text = "\n".join(line for (line,) in plan)
    assert "jobs_run_claim" in text and "Seq Scan on jobs_run" not in text


def _claim_statement() -> str:
    return claims._STATEMENTS[(False, True)]


def _claim_params() -> dict[str, Any]:
    request = claim_request()
    return {
        "queue": request.queue,
        "limit": request.limit,
        "token": request.token,
        "lease": request.lease,
        "worker": request.worker,
    }
