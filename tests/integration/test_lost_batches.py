"""In-process runs that were claimed together and lost together: what has not begun is never lost."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

import tests.sample_callables  # noqa: F401
from jobs.models import Attempt, Job, Run
from jobs.services import control, recovery
from jobs.services.running import inline, turn
from jobs.services.running.slot import SlotProcess
from jobs.store import claims
from jobs.store.session import Row, Session
from jobsched.callables import callable_job
from jobsched.domain.errors import Unavailable
from jobsched.domain.retry import LOST_RETRIES
from tests.integration.conftest import claim_next
from tests.processes import wait_for

BATCH = 40


@pytest.fixture
def request_trusted(make_job: Callable[..., Job]) -> Callable[..., list[Run]]:
    """Request runs of one in-process callable."""

    def make(count: int, **fields: object) -> list[Run]:
        make_job("Trusted", kind="python", in_process=True, **{"spec": {"call": "sample.trusted"}, **fields})
        return [control.trigger(job="Trusted", actor="test") for _ in range(count)]

    return make


def verdicts(run: Run) -> list[str]:
    return [attempt.verdict for attempt in Attempt.objects.filter(run=run).order_by("number")]


def test_runs_that_must_not_be_repeated_are_claimed_one_by_one(
    session: Session, request_trusted: Callable[..., list[Run]]
) -> None:
    runs = request_trusted(BATCH, on_lost="fail")
    assert len(claim_next(session, limit=200, lease_seconds=-1)) == 1
    recovery.reap()
    states = list(Run.objects.filter(pk__in=[run.pk for run in runs]).order_by("pk").values_list("state", flat=True))
    assert states == ["failed"] + ["queued"] * (BATCH - 1)


def test_a_batch_ends_before_a_run_that_must_not_be_repeated(
    session: Session, make_job: Callable[..., Job], request_trusted: Callable[..., list[Run]]
) -> None:
    first, second = request_trusted(2)
    make_job("Once", kind="python", spec={"call": "sample.trusted"}, in_process=True, on_lost="fail")
    once = control.trigger(job="Once", actor="test")
    last = control.trigger(job="Trusted", actor="test")
    claimed = [[claim.run_id for claim in claim_next(session, limit=200)] for _ in range(3)]
    assert claimed == [[first.pk, second.pk], [once.pk], [last.pk]]


def test_runs_that_were_lost_together_are_handed_back_and_lose_no_try(
    session: Session, request_trusted: Callable[..., list[Run]]
) -> None:
    runs = request_trusted(BATCH, retries={"max": 0})
    assert len(claim_next(session, limit=200, lease_seconds=-1)) == BATCH

    assert recovery.reap() == BATCH

    for run in runs:
        run.refresh_from_db()
        assert (run.state, run.attempt, run.handed_back) == ("queued", 1, 1)
        assert verdicts(run) == ["handed_back"]
        assert "does not count" in run.reason


def test_a_run_that_was_lost_with_others_is_claimed_alone_and_its_losses_come_to_an_end(
    session: Session, request_trusted: Callable[..., list[Run]]
) -> None:
    """One of a batch may be the one that ended its worker, and will do so again."""
    first, second = request_trusted(2)
    claim_next(session, limit=200, lease_seconds=-1)
    recovery.reap()
    for _ in range(1 + LOST_RETRIES):
        assert [claim.run_id for claim in claim_next(session, limit=200, lease_seconds=-1)] == [first.pk]
        recovery.reap()
        Run.objects.filter(pk=first.pk, state="scheduled").update(state="queued", priority=9)
    first.refresh_from_db()
    assert first.state == "failed"
    assert verdicts(first) == ["handed_back"] + ["lost"] * (1 + LOST_RETRIES)
    assert verdicts(second) == ["handed_back"]


def test_an_attempt_that_was_claimed_alone_counts_when_it_is_lost(
    session: Session, request_trusted: Callable[..., list[Run]]
) -> None:
    [run] = request_trusted(1)
    claim_next(session, limit=200, lease_seconds=-1)
    recovery.reap()
    run.refresh_from_db()
    assert (run.state, run.handed_back, verdicts(run)) == ("scheduled", 0, ["lost"])


@callable_job("test.until-recorded", in_process=True)
def until_recorded() -> bool:
    """Go on until the database knows that this run has begun."""
    wait_for(lambda: not Run.objects.get(job__name="Long").batchable, timeout=20)
    return True


@pytest.mark.usefixtures("own_slot")
def test_a_run_that_holds_up_its_batch_is_recorded_as_begun(
    make_job: Callable[..., Job], request_trusted: Callable[..., list[Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, "pace", lambda performed, seconds: 10)
    monkeypatch.setattr(inline, "HOLD_UP_SECONDS", 0.0)
    request_trusted(2)
    make_job("Long", kind="python", spec={"call": "test.until-recorded"}, in_process=True)
    long = control.trigger(job="Long", actor="test")
    control.trigger(job="Trusted", actor="test")

    turn.work("default", hostname="slot@test")

    long.refresh_from_db()
    assert (long.state, verdicts(long)) == ("succeeded", ["succeeded"])


class CutSession(Session):
    """Loses the answer to the first statement, and cannot connect for a while after it."""

    def __init__(self, *, away: int) -> None:
        super().__init__()
        self._away = away
        self._sent = False

    def __call__(self, sql: str, params: Any) -> list[Row]:
        if not self._sent:
            self._sent = True
            super().__call__(sql, params)
            raise Unavailable("the connection was cut after the commit")
        if self._away:
            self._away -= 1
            raise Unavailable("the database cannot be reached")
        return super().__call__(sql, params)


def test_a_slot_finds_the_claim_whose_answer_was_lost_however_long_the_database_is_away(
    request_trusted: Callable[..., list[Run]],
) -> None:
    """Nobody else knows of the claim: its run would be failed as lost, though it has not begun."""
    [run] = request_trusted(1, on_lost="fail")
    slot = SlotProcess(hostname="slot@test")
    slot.session = CutSession(away=3)
    try:
        claimed = slot.record([], claim_from="default")
    finally:
        slot.close()
    assert [claim.run_id for claim in claimed] == [run.pk]


def test_who_thaws_records_that_a_lost_claim_has_begun_in_vain(
    session: Session, request_trusted: Callable[..., list[Run]]
) -> None:
    runs = request_trusted(2)
    stale = claim_next(session, limit=200, lease_seconds=-1)
    recovery.reap()
    Run.objects.update(batchable=True)
    standing = claim_next(session, limit=200, lease_seconds=timedelta(minutes=1).total_seconds())
    assert len(standing) == 2
    claims.record_begin(session, stale[0])
    assert Run.objects.filter(pk__in=[run.pk for run in runs], batchable=True).count() == 2
    claims.record_begin(session, standing[0])
    assert Run.objects.filter(pk__in=[run.pk for run in runs], batchable=True).count() == 1
