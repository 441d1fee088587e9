"""How long a run may wait, and how long all of it may take."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import F

import tests.sample_callables  # noqa: F401
from jobs.models import Attempt, Job, Run, Transition
from jobs.services import control, recovery, running
from jobs.services.running import turn
from jobs.store.session import Session
from jobsched.domain.states import State
from tests.integration.conftest import claim_next
from tests.integration.test_claims import ended

MINUTE = timedelta(minutes=1)

pytestmark = pytest.mark.usefixtures("own_slot")


def let_pass(run: Run, length: timedelta) -> None:
    """Shift the run's moments back, as if so much time had passed."""
    Run.objects.filter(pk=run.pk).update(
        run_at=F("run_at") - length,
        deadline_at=F("deadline_at") - length,
        expires_at=F("expires_at") - length,
        created_at=F("created_at") - length,
    )


def now(run: Run) -> Run:
    run.refresh_from_db()
    return run


def test_a_run_that_nobody_starts_in_time_is_given_up(make_job: Callable[..., Job], session: Session) -> None:
    make_job("Quick", max_wait=MINUTE)
    run = control.trigger(job="Quick", actor="test")
    assert recovery.give_up() == 0
    let_pass(run, MINUTE)

    assert claim_next(session) == []  # also before a beat has looked
    assert recovery.give_up() == 1

    assert (now(run).state, run.finished_at is not None) == ("timed_out", True)
    assert run.reason == "no worker started it within the 60 s that it may wait in its queue"
    [told] = Transition.objects.filter(run=run, after="timed_out")
    assert (told.before, told.actor, told.reason) == ("queued", "beat", run.reason)


def test_its_wait_begins_when_it_is_queued(make_job: Callable[..., Job]) -> None:
    make_job("Later", max_wait=MINUTE)
    run = control.trigger(job="Later", actor="test", at=datetime.now(UTC) + timedelta(hours=1))
    assert now(run).expires_at is None
    let_pass(run, timedelta(hours=1))
    assert recovery.promote() == 1
    left = now(run).expires_at
    assert left is not None and timedelta(0) < left - datetime.now(UTC) <= MINUTE


def test_a_run_that_waits_for_its_next_attempt_is_given_up_at_its_deadline(
    make_job: Callable[..., Job], session: Session
) -> None:
    make_job("Slow", deadline=timedelta(hours=1), retries={"max": 9, "strategy": "fixed", "backoff": "50m"})
    run = control.trigger(job="Slow", actor="test")
    [claim] = claim_next(session)
    assert claim.seconds_to_deadline == pytest.approx(3600, abs=60)
    turn._slot = slot = turn.SlotProcess(hostname="test")
    slot.record([ended(claim, after=State.SCHEDULED, verdict="failed", again_in_seconds=3000.0)], claim_from=None)
    assert now(run).expires_at == run.deadline_at
    let_pass(run, timedelta(hours=1))

    assert recovery.give_up() == 1
    assert (now(run).state, run.reason) == ("timed_out", "its deadline passed before its next attempt")


@pytest.mark.parametrize(
    "work",
    [
        {"kind": "shell", "spec": {"command": "sleep 30"}},
        {"kind": "python", "spec": {"call": "sample.trusted-slow"}, "in_process": True, "params": {"seconds": 30}},
    ],
    ids=["process", "in-process"],
)
def test_an_attempt_is_ended_at_the_deadline_of_its_run(make_job: Callable[..., Job], work: dict[str, Any]) -> None:
    """The limit of the attempt would allow it an hour, and its retries three more."""
    make_job("Long", deadline=timedelta(seconds=1), grace=MINUTE, retries={"max": 3}, **work)
    run = control.trigger(job="Long", actor="test")

    running.work("default", hostname="slot@test")

    [attempt] = Attempt.objects.filter(run=run)
    assert (now(run).state, attempt.verdict) == ("timed_out", "timed_out")
    assert attempt.reason.startswith("the deadline of the whole run passed")


def test_no_attempt_is_waited_for_that_could_not_begin_in_time(make_job: Callable[..., Job]) -> None:
    make_job(
        "Failing",
        spec={"command": "exit 3"},
        deadline=timedelta(seconds=30),
        retries={"max": 3, "strategy": "fixed", "backoff": "31s"},
    )
    run = control.trigger(job="Failing", actor="test")
    running.work("default", hostname="slot@test")
    assert now(run).state == "failed"
    assert run.reason == "exit code 3; not tried again, as its deadline would have passed by then"


def test_a_run_given_up_makes_room_in_its_lane(make_job: Callable[..., Job], session: Session) -> None:
    make_job("One", max_running=1, max_wait=MINUTE)
    first = control.trigger(job="One", actor="test")
    second = control.trigger(job="One", actor="test")
    assert [now(run).held for run in (first, second)] == [0, 2]
    let_pass(first, MINUTE)
    assert recovery.give_up() == 1
    assert [claim.run_id for claim in claim_next(session)] == [second.pk]


def test_looking_for_overdue_runs_costs_one_probe_of_an_index(make_job: Callable[..., Job]) -> None:
    make_job("Quick", max_wait=MINUTE)
    control.trigger_many(job="Quick", actor="test", count=50)
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        cursor.execute(
            "EXPLAIN SELECT FROM jobs_run WHERE state IN ('scheduled', 'queued') AND expires_at <= clock_timestamp()"
            " ORDER BY expires_at LIMIT 1"
        )
        plan = "\n".join(row[0] for row in cursor.fetchall())
        cursor.execute("RESET enable_seqscan")
    assert "jobs_run_expires" in plan
