"""What a slot does with the runs it has claimed, on a real database: `work`, without a worker around it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

import tests.hostile_callables
import tests.sample_callables  # noqa: F401
from jobs import messages, worker
from jobs.conf import conf
from jobs.models import Attempt, Job, Run
from jobs.services import control, running
from jobs.services.running import inline, turn
from jobs.services.running.recording import settle_and_claim
from jobs.store.session import Session
from jobsched.callables import callable_job
from jobsched.domain.errors import Unavailable
from jobsched.domain.outcomes import Assignment, Outcome
from jobsched.executors.python import perform_in_process
from jobsched.shim.launch import launch
from tests.hostile_callables import HOSTILE
from tests.integration.conftest import claim_next
from tests.integration.test_claims import ended
from tests.processes import wait_for

pytestmark = pytest.mark.usefixtures("own_slot")


@pytest.fixture
def request_runs(make_job: Callable[..., Job]) -> Callable[..., list[Run]]:
    """Request a run of each callable, in this order."""

    def make(*calls: str, **fields: object) -> list[Run]:
        for number, call in enumerate(calls):
            make_job(f"Job {number}", kind="python", spec={"call": call}, in_process="trusted" in call, **fields)
        return [control.trigger(job=f"Job {number}", actor="test") for number in range(len(calls))]

    return make


def states(runs: list[Run]) -> list[str]:
    return [Run.objects.get(pk=run.pk).state for run in runs]


def test_one_result_that_cannot_be_stored_is_a_failure_and_the_others_stand(session: Session, make_runs: Any) -> None:
    runs = make_runs(3)
    first, second, third = (claim_next(session)[0] for _ in range(3))
    settlements = [ended(first, result=1), ended(second, exit_code=2**40), ended(third, result=3)]

    settled = settle_and_claim(session, settlements, None, actor="slot-1")

    assert list(settled.recorded.values()) == ["succeeded", "failed", "succeeded"]
    assert states(runs) == ["succeeded", "failed", "succeeded"]
    assert "cannot be stored" in Run.objects.get(pk=second.run_id).reason


@callable_job("test.look-at", in_process=True)
def look_at(run: int, other: int) -> list[str]:
    """Wait until two other runs are no longer running."""

    def seen() -> list[str]:
        states = [Run.objects.get(pk=pk).state for pk in (run, other)]
        return [] if "running" in states else states

    return wait_for(seen, timeout=10)


def test_a_long_run_holds_up_neither_what_ended_before_it_nor_what_comes_after(
    make_job: Callable[..., Job], request_runs: Callable[..., list[Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, "pace", lambda performed, seconds: 10)  # on a slow machine batches would be of one run
    _, before, after = request_runs("sample.trusted", "sample.trusted", "sample.trusted")
    make_job("Long", kind="python", spec={"call": "test.look-at"}, in_process=True)
    control.trigger(job="Long", actor="test", params={"run": before.pk, "other": after.pk}, priority=6)
    Run.objects.exclude(pk=after.pk).filter(priority=5).update(priority=7)

    running.work("default", hostname="slot@test")

    assert Attempt.objects.get(run__job__name="Long").result == ["succeeded", "queued"]
    assert states([before, after]) == ["succeeded", "succeeded"]
    assert [a.verdict for a in Attempt.objects.filter(run=after)] == ["handed_back", "succeeded"]


def test_no_run_of_a_batch_begins_once_its_lease_has_ended(
    request_runs: Callable[..., list[Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slot is frozen between two runs of a batch, for longer than their leases."""
    monkeypatch.setattr(turn, "pace", lambda performed, seconds: 10)
    runs = request_runs("sample.trusted", "sample.trusted", "sample.trusted", "sample.trusted")
    monkeypatch.setattr(inline, "LOOK_SECONDS", 5.0)  # the watching thread would end this very process
    performed = []

    def freeze_after_the_second(work: Assignment, **options: Any) -> Outcome:
        outcome = perform_in_process(work, **options)
        performed.append(work.run_id)
        if len(performed) == 2:
            assert turn._slot is not None
            turn._slot.claimed_at -= conf().lease.total_seconds()
        return outcome

    monkeypatch.setattr(inline, "perform_in_process", freeze_after_the_second)
    running.work("default", hostname="slot@test")
    assert states(runs) == ["succeeded", "succeeded", "queued", "queued"]
    running.work("default", hostname="slot@test")  # on the hint of the next sweep

    assert states(runs) == ["succeeded"] * 4
    verdicts = [[a.verdict for a in Attempt.objects.filter(run=run).order_by("number")] for run in runs]
    assert performed == [run.pk for run in runs]
    assert verdicts == [["succeeded"], ["succeeded"], ["handed_back", "succeeded"], ["handed_back", "succeeded"]]


def test_a_slot_has_made_itself_ready_before_its_first_lease_begins(
    request_runs: Callable[..., list[Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Starting a process to fork from takes seconds on a machine that is busy enough."""
    [run] = request_runs("tests.sample_callables:add")
    found = []

    def note(starter: Any, **details: Any) -> Any:
        found.extend(states([run]))
        return launch(starter, **details)

    monkeypatch.setattr("jobsched.engine.slot.launch", note)

    running.work("default", hostname="slot@test")

    assert found == ["queued"]
    assert states([run]) != ["queued"]


def test_a_slot_that_can_start_no_process_leaves_its_runs_to_others(
    request_runs: Callable[..., list[Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Any, **_details: Any) -> None:
        raise Unavailable("no process can be started for runs here")

    [run] = request_runs("tests.sample_callables:add", on_lost="fail")
    monkeypatch.setattr("jobsched.engine.slot.launch", refuse)
    monkeypatch.setattr(turn, "TURN_SECONDS", 0.0)

    running.work("default", hostname="slot@test")

    run.refresh_from_db()
    [attempt] = Attempt.objects.filter(run=run)
    assert (run.state, attempt.verdict) == ("queued", "handed_back")
    assert "no process can be started" in attempt.reason


SUCCEEDS = {"escaped-nul", "unstorable-text", "deep"}


@pytest.mark.parametrize("how", ["", "trusted-"])
@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_a_callable_does_its_run_ends_and_no_other_is_harmed(
    request_runs: Callable[..., list[Run]], name: str, how: str
) -> None:
    runs = request_runs("sample.trusted", "sample.trusted", f"hostile.{how}{name}", "sample.trusted")

    running.work("default", hostname="slot@test")

    after = "succeeded" if name in SUCCEEDS else "failed"
    assert states(runs) == ["succeeded", "succeeded", after, "succeeded"]
    [attempt] = Attempt.objects.filter(run=runs[2])
    assert (attempt.verdict, attempt.number) == (after, 1)


def test_a_slot_whose_turn_is_over_continues_while_no_hint_can_be_sent(
    request_runs: Callable[..., list[Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker is away: hints reach nobody, and runs would wait beside a slot that has nothing to do."""
    runs = request_runs("sample.trusted", "sample.trusted", "sample.trusted")
    monkeypatch.setattr(turn, "TURN_SECONDS", 0.0)
    monkeypatch.setattr(messages, "hint", lambda waiting: False)
    running.work("default", hostname="slot@test")
    assert states(runs) == ["succeeded"] * 3


def test_a_slot_whose_turn_is_over_leaves_the_rest_to_the_slot_that_gets_its_hint(
    request_runs: Callable[..., list[Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = request_runs("sample.trusted", "sample.trusted")
    told: list[dict[str, int]] = []
    monkeypatch.setattr(turn, "TURN_SECONDS", 0.0)
    monkeypatch.setattr(messages, "hint", lambda waiting: not told.append(waiting))
    running.work("default", hostname="slot@test")
    assert (states(runs), told) == (["succeeded", "queued"], [{"default": 1}])


over = threading.Event()
"""Set when a callable of this file may return."""


@callable_job("test.until-over", in_process=True)
def until_over() -> bool:
    """Wait in small parts, so that an exception of the slot arrives."""
    worker.look()  # the lease is renewed at once
    return any(over.wait(0.1) for _ in range(300))


@pytest.fixture
def run_until_over(make_job: Callable[..., Job]) -> Run:
    over.clear()
    make_job("Until over", kind="python", spec={"call": "test.until-over"}, in_process=True)
    return control.trigger(job="Until over", actor="test")


def test_an_in_process_run_ends_with_its_lease_while_its_renewal_waits_for_the_database(
    run_until_over: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    exits: list[int] = []

    def never_answer(*_: Any, **__: Any) -> None:
        over.wait(30)
        raise Unavailable("the database does not answer")

    def leave(code: int) -> None:
        exits.append(code)
        over.set()
        threading.Event().wait()  # the thread that keeps the deadline goes no further

    monkeypatch.setattr(inline.store, "heartbeat", never_answer)
    monkeypatch.setattr(inline, "deadline_seconds", lambda: 1.5)
    monkeypatch.setattr("jobs.services.running.inline.os._exit", leave)

    running.work("default", hostname="slot@test")

    assert exits == [70]


def test_an_in_process_run_is_handed_back_by_a_worker_that_stops_while_the_database_is_away(
    run_until_over: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        monkeypatch.setattr(worker, "out_of_time", lambda: True)
        raise Unavailable("the database cannot be reached")

    monkeypatch.setattr(inline.store, "heartbeat", lambda *_, **__: {(run_until_over.pk, 1): False})
    monkeypatch.setattr(inline.store, "record_begin", away)

    running.work("default", hostname="slot@test")

    assert next(a.verdict for a in Attempt.objects.filter(run=run_until_over).order_by("number")) == "handed_back"
