"""Slots of one worker renew each other's claims: one statement, on the connection of whichever is due first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.db import connection

from jobs import worker
from jobs.models import Run
from jobs.services.running import board, isolated
from jobs.services.running.isolated import ClaimWatch
from jobs.services.running.slot import SlotProcess
from jobs.store import claims, control
from jobs.store.session import Session, django_connection
from jobsched.domain.errors import Unavailable
from tests.integration.conftest import claim_next

MakeRuns = Callable[..., list[Run]]
Watches = Callable[[int], list[ClaimWatch]]


class _Child:
    def __init__(self, index: int) -> None:
        self.index = index


@pytest.fixture
def watches(make_runs: MakeRuns, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watches]:
    """Claim runs, each for a slot of its own of the same worker, with a session of its own."""
    sessions: list[Session] = []
    monkeypatch.setattr(isolated, "board", board.Board())

    def make(count: int) -> list[ClaimWatch]:
        make_runs(count)
        made = []
        for index in range(count):
            monkeypatch.setattr(board, "current_process", lambda index=index: _Child(index))
            slot = SlotProcess(hostname=f"slot-{index}")
            sessions.append(slot.session)
            [claim] = claim_next(slot.session)
            made.append(ClaimWatch(slot, claim, repeatable=True))
        return made

    yield make
    for session in sessions:
        session.close()


def leases(*watches: ClaimWatch) -> list[Any]:
    ids = [watch._claim.run_id for watch in watches]
    return [Run.objects.get(pk=id).lease_until for id in ids]


def without_database(watch: ClaimWatch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a slot fail when it asks the database."""

    def refuse(*_: object) -> None:
        raise Unavailable("this slot was not to ask")

    monkeypatch.setattr(watch._slot, "session", refuse)


def test_one_statement_renews_what_all_slots_hold(watches: Watches, monkeypatch: pytest.MonkeyPatch) -> None:
    first, *others = watches(3)
    before = leases(first, *others)

    pulse = first.heartbeat()

    assert not pulse.lost
    assert all(after > earlier for after, earlier in zip(leases(first, *others), before, strict=True))
    for other in others:
        without_database(other, monkeypatch)
        assert (other.heartbeat().deadline, other.heartbeat().lost) == (pulse.deadline, False)


def test_a_renewal_that_is_too_old_is_not_relied_upon(watches: Watches, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = watches(2)
    first.heartbeat()
    without_database(second, monkeypatch)
    second.heartbeat()
    second.heartbeat_seconds = 0.0
    with pytest.raises(Unavailable):
        second.heartbeat()


def test_a_cancel_that_another_slot_finds_reaches_the_run_at_once(watches: Watches) -> None:
    first, second = watches(2)
    assert not second.nudged()
    control.cancel(django_connection, [second._claim.run_id], actor="ada")

    assert not first.heartbeat().cancel_requested

    assert second.nudged()
    assert second.heartbeat().cancel_requested


def test_a_lost_lease_that_another_slot_finds_is_confirmed_by_its_own(watches: Watches) -> None:
    first, second = watches(2)
    Run.objects.filter(pk=second._claim.run_id).update(attempt=7)

    assert not first.heartbeat().lost

    assert second.nudged()
    assert second.heartbeat().lost


def test_the_attempt_that_took_over_does_not_keep_the_lost_one_alive(watches: Watches) -> None:
    """The lost one may not know it yet: its machine stood still, and its clock with it."""
    former, successor, third = watches(3)
    claim = former._claim
    Run.objects.filter(pk=successor._claim.run_id).update(state="queued", claim_token=None, lease_until=None)
    Run.objects.filter(pk=claim.run_id).update(attempt=2, claim_token=uuid4())
    successor._claim = replace(claim, attempt=2, token=Run.objects.get(pk=claim.run_id).claim_token)
    successor._mine = (claim.run_id, 2)
    successor._place.post(successor._claim)

    assert not third.heartbeat().lost
    assert former.nudged()
    former._hurried = False
    assert former.heartbeat().lost
    assert not successor.heartbeat().lost


def test_who_looks_because_of_a_message_asks_the_database(watches: Watches) -> None:
    first, second = watches(2)
    first.heartbeat()
    control.cancel(django_connection, [second._claim.run_id], actor="ada")
    worker.look()
    assert second.nudged()
    assert second.heartbeat().cancel_requested


def test_a_look_that_the_database_did_not_answer_is_taken_again(
    watches: Watches, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = watches(2)
    control.cancel(django_connection, [second._claim.run_id], actor="ada")
    worker.look()
    assert [second.nudged(), second.nudged()] == [True, False], "or it would be asked for in every turn of the loop"
    with monkeypatch.context() as away:
        without_database(second, away)
        with pytest.raises(Unavailable):
            second.heartbeat()
    first.heartbeat()
    assert second.heartbeat().cancel_requested


def test_an_attempt_that_has_ended_is_renewed_by_nobody(watches: Watches) -> None:
    first, second = watches(2)
    [before] = leases(second)
    second.close()
    first.heartbeat()
    assert leases(second) == [before]


def test_a_row_that_is_being_changed_holds_up_no_heartbeat_but_its_own(watches: Watches) -> None:
    first, second, third = watches(3)
    before = leases(second, third)
    with psycopg.connect(**connection.get_connection_params() | {"cursor_factory": psycopg.Cursor}) as somebody:
        somebody.execute("SELECT FROM jobs_run WHERE id = %s FOR UPDATE", [second._claim.run_id])
        assert not first.heartbeat().lost
    after = leases(second, third)
    assert after[0] == before[0]
    assert after[1] > before[1]
    assert second.nudged()
    assert not third.nudged()


def test_heartbeats_of_several_at_once_never_meet_in_a_deadlock(make_runs: MakeRuns, session: Session) -> None:
    """Each renews all, in the opposite order, again and again."""
    make_runs(20)
    held = [claim_next(session)[0] for _ in range(20)]

    def renew(mine: list[Any]) -> None:
        with closing(Session()) as own:
            for _ in range(100):
                claims.heartbeat(own, mine, lease=timedelta(seconds=30))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(renew, [held, held[::-1], held[10:] + held[:10]]))
    assert claims.heartbeat(session, held, lease=timedelta(seconds=30)) == dict.fromkeys(
        ((c.run_id, c.attempt) for c in held), False
    )
