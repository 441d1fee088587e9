"""Which runs of a limited job may go: decided in the database, whatever worker, beat or request asks."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from jobs.models import Gate, Job, Queue, Run, Schedule
from jobs.services import control, recovery, scheduling
from jobs.services.running.recording import settle_and_claim
from jobs.store.claims import Claim, Settlement
from jobs.store.session import Session
from jobsched.domain.errors import InvalidInput
from jobsched.domain.states import State
from tests.integration.conftest import claim_next, claim_request
from tests.processes import wait_for


def ended(claim: Claim, after: State = State.SUCCEEDED) -> Settlement:
    return Settlement(
        run_id=claim.run_id,
        attempt=claim.attempt,
        token=claim.token,
        after=after,
        reason="",
        again_in_seconds=0.0 if after is State.SCHEDULED else None,
        verdict="succeeded" if after is State.SUCCEEDED else "failed",
    )


def request(job: Job, **asked: object) -> Run:
    return control.trigger(job=job.name, actor="ada", **asked)  # type: ignore[arg-type]


def claimed(session: Session) -> list[int]:
    """Claim all that may be claimed, one by one."""
    runs: list[int] = []
    while claims := claim_next(session):
        runs += [claim.run_id for claim in claims]
    return runs


def test_a_job_without_limits_knows_of_no_gate(make_job: Callable[..., Job], session: Session) -> None:
    job = make_job()
    runs = [request(job) for _ in range(3)]
    assert claimed(session) == [run.pk for run in runs]
    assert (Gate.objects.count(), runs[0].lane, runs[0].held) == (0, None, 0)


def test_queue_lets_one_run_go_after_the_other_by_priority(make_job: Callable[..., Job], session: Session) -> None:
    job = make_job(overlap="queue")
    first, low, high = request(job), request(job, priority=1), request(job, priority=9)
    [claim] = claim_next(session)
    assert (claim.run_id, claim_next(session)) == (first.pk, [])
    low.refresh_from_db()
    assert (low.state, low.reason) == ("queued", "waits for its turn under the limits of its job")

    # What a slot does: it records, and goes on with the next in the same breath.
    [claim] = settle_and_claim(session, [ended(claim)], claim_request(), actor="slot-1").claims
    assert claim.run_id == high.pk
    [claim] = settle_and_claim(session, [ended(claim)], claim_request(), actor="slot-1").claims
    assert claim.run_id == low.pk


def test_skip_leaves_a_skipped_run_that_names_the_one_before(make_job: Callable[..., Job], session: Session) -> None:
    job = make_job(overlap="skip")
    first, second = request(job), request(job)
    assert (second.state, second.reason) == ("skipped", f"overlap: run {first.pk} had not ended")
    [claim] = claim_next(session)
    assert request(job).state == "skipped"
    settle_and_claim(session, [ended(claim)], None, actor="slot-1")
    assert request(job).state == "queued"


def test_a_run_that_waits_for_its_retry_still_counts_for_skip(make_job: Callable[..., Job], session: Session) -> None:
    job = make_job(overlap="skip")
    request(job)
    [claim] = claim_next(session)
    settle_and_claim(session, [ended(claim, State.SCHEDULED)], None, actor="slot-1")
    assert request(job).state == "skipped"


def test_replace_ends_what_stands_first(make_job: Callable[..., Job], session: Session) -> None:
    job = make_job(overlap="replace")
    running = request(job)
    [claim] = claim_next(session)
    waiting = request(job)
    newest = request(job)

    running.refresh_from_db()
    waiting.refresh_from_db()
    assert running.state == "running" and running.cancel_requested_by == "a newer run that replaces it"
    assert (waiting.state, waiting.reason) == ("cancelled", "cancelled by a newer run that replaces it")
    assert claim_next(session) == []  # not beside the one that is being ended

    [following] = settle_and_claim(session, [ended(claim, State.CANCELLED)], claim_request(), actor="slot-1").claims
    assert following.run_id == newest.pk


def test_a_request_for_later_is_not_replaced(make_job: Callable[..., Job]) -> None:
    job = make_job(overlap="replace")
    later = request(job, at=timezone.now() + timedelta(hours=1))
    request(job)
    later.refresh_from_db()
    assert later.state == "scheduled"


def test_of_several_replacing_requests_at_once_the_last_goes(make_job: Callable[..., Job], session: Session) -> None:
    make_job("R", overlap="replace")
    runs = control.trigger_many(job="R", count=3, actor="ada")
    assert [run.state for run in runs] == ["skipped", "skipped", "queued"]
    assert claimed(session) == [runs[-1].pk]


def test_max_running_holds_for_all_workers_together(
    make_job: Callable[..., Job], session: Session, other_session: Session
) -> None:
    make_job("M", max_running=3)
    control.trigger_many(job="M", count=10, actor="ada")
    mine, theirs = [claim_next(session), claim_next(session)], claim_next(other_session)
    assert len(theirs) == 1 and claim_next(session) == claim_next(other_session) == []
    settle_and_claim(session, [ended(mine[0][0])], None, actor="slot-1")
    assert len(claimed(other_session)) == 1


def test_overlap_is_judged_among_runs_of_the_same_key(make_job: Callable[..., Job], session: Session) -> None:
    job = make_job(overlap="queue", concurrency_key="customer-{customer}", max_running=3)
    for customer in (1, 1, 1, 2, 2, 3, 4):
        request(job, params={"customer": customer})
    claims = [claim_next(session)[0] for _ in range(3)]
    assert claim_next(session) == []
    running = Run.objects.filter(state="running").values_list("lane", flat=True)
    assert sorted(running) == ["customer-1", "customer-2", "customer-3"]
    done = next(c for c in claims if c.params == {"customer": 2})
    # Every place is taken but one: the next customer in line is 1 or 2, and 1 is busy.
    [following] = settle_and_claim(session, [ended(done)], claim_request(), actor="slot-1").claims
    assert following.params == {"customer": 2}


def test_a_key_without_its_parameter_is_refused_and_leaves_nothing(make_job: Callable[..., Job]) -> None:
    job = make_job(overlap="queue", concurrency_key="customer-{customer}")
    with pytest.raises(InvalidInput, match="customer"):
        request(job)
    assert not Run.objects.exists()


def test_a_schedule_without_the_parameter_of_its_key_skips_and_stops_no_other(make_job: Callable[..., Job]) -> None:
    interval = IntervalSchedule.objects.create(every=1, period="hours")
    for name, fields in (("Bad", {"overlap": "queue", "concurrency_key": "{customer}"}), ("Good", {})):
        row = PeriodicTask.objects.create(name=name, task="x", interval=interval)
        late = timezone.now() - timedelta(seconds=1)
        Schedule.objects.filter(pk=row.pk).update(
            job=make_job(name, **fields), next_fire_at=late, cursor=late - timedelta(seconds=1), stale=False
        )
    assert scheduling.fire_due() == 2
    bad, good = Run.objects.get(job__name="Bad"), Run.objects.get(job__name="Good")
    assert (bad.state, good.state) == ("skipped", "queued") and "'customer'" in bad.reason


def test_unique_returns_the_run_that_waits(make_job: Callable[..., Job], session: Session) -> None:
    job = make_job(unique_waiting=True)
    first, second = request(job), request(job)
    assert (second.pk, Run.objects.count()) == (first.pk, 1)
    assert claimed(session) == [first.pk]
    assert request(job).pk != first.pk  # it runs: it no longer waits


def test_unique_is_by_key(make_job: Callable[..., Job]) -> None:
    job = make_job(unique_waiting=True, concurrency_key="{customer}", overlap="queue")
    ones = {request(job, params={"customer": 1}).pk for _ in range(3)}
    twos = {request(job, params={"customer": 2}).pk for _ in range(3)}
    assert (len(ones), len(twos)) == (1, 1) and ones != twos


def test_a_rate_spaces_starts_and_drops_none(make_job: Callable[..., Job], session: Session) -> None:
    make_job("R", rate="60/m")
    runs = control.trigger_many(job="R", count=3, actor="ada")
    assert claimed(session) == [runs[0].pk]
    recovery.admit()
    assert claimed(session) == []
    _clock_of_gate(timedelta(seconds=-1.1))
    recovery.admit()
    assert claimed(session) == [runs[1].pk]
    gate = Gate.objects.get()
    assert gate.next_at is not None and gate.next_at > timezone.now()
    _clock_of_gate(timedelta(hours=-1))  # a long pause is not made up for by a burst
    recovery.admit()
    assert claimed(session) == [runs[2].pk]


def _clock_of_gate(shift: timedelta) -> None:
    gate = Gate.objects.get()
    assert gate.next_at is not None
    Gate.objects.update(next_at=gate.next_at + shift)


def test_a_fast_rate_lets_several_go_at_once(make_job: Callable[..., Job], session: Session) -> None:
    make_job("R", rate="1000/s")
    control.trigger_many(job="R", count=500, actor="ada")
    Gate.objects.update(next_at=timezone.now() - timedelta(seconds=10))
    recovery.admit()
    started = len(claimed(session))
    assert 200 <= started <= 300  # a quarter of a second's worth


def test_the_rate_of_a_queue_holds_for_all_its_jobs(make_job: Callable[..., Job], session: Session) -> None:
    Queue.objects.create(name="default", rate="1/h")
    jobs = [make_job(f"Job {number}") for number in range(3)]
    runs = [request(job) for job in jobs]
    assert claimed(session) == [runs[0].pk]
    Queue.objects.update(next_at=timezone.now() - timedelta(seconds=1))
    recovery.admit()
    assert claimed(session) == [runs[1].pk]
    Queue.objects.update(rate="")
    recovery.admit()
    assert claimed(session) == [runs[2].pk]


@pytest.mark.parametrize("rate", ["", "100/s", "9999999/s"])
def test_a_new_rate_counts_from_now_on(make_job: Callable[..., Job], session: Session, rate: str) -> None:
    Queue.objects.create(name="default", rate="1/d")
    job = make_job(rate="1/d")
    runs = [request(job), request(job)]
    recovery.admit()
    assert claimed(session) == [runs[0].pk]
    Job.objects.update(rate=rate)
    Queue.objects.update(rate=rate)
    recovery.admit()
    assert claimed(session) == [runs[1].pk]


def test_a_program_that_stands_still_in_a_request_stops_no_other_job(
    make_job: Callable[..., Job], session: Session
) -> None:
    interval = IntervalSchedule.objects.create(every=1, period="hours")
    for name, fields in (("Held", {"overlap": "queue"}), ("Free", {"overlap": "queue"}), ("Unlimited", {})):
        row = PeriodicTask.objects.create(name=name, task="x", interval=interval)
        late = timezone.now() - timedelta(seconds=1)
        Schedule.objects.filter(pk=row.pk).update(
            job=make_job(name, **fields), next_fire_at=late, cursor=late - timedelta(seconds=1), stale=False
        )
    asked, over = threading.Event(), threading.Event()

    def stand_still() -> None:
        with transaction.atomic():
            control.trigger(job="Held", actor="ada")
            asked.set()
            over.wait(60)
        connection.close()

    program = threading.Thread(target=stand_still)
    program.start()
    assert asked.wait(60)
    # Would wait for the program, and so for ever, if it waited.
    assert scheduling.fire_due() == 2
    recovery.admit()
    assert set(Run.objects.values_list("job__name", flat=True)) == {"Free", "Unlimited"}
    over.set()
    program.join()
    assert scheduling.fire_due() == 1
    assert Run.objects.filter(job__name="Held").count() == 2


def test_a_limited_job_in_a_rated_queue_waits_for_both(make_job: Callable[..., Job], session: Session) -> None:
    Queue.objects.create(name="default", rate="1000/s")
    make_job("M", max_running=1)
    control.trigger_many(job="M", count=2, actor="ada")
    recovery.admit()
    [claim] = claim_next(session)
    recovery.admit()
    assert claim_next(session) == []
    settle_and_claim(session, [ended(claim)], None, actor="slot-1")
    recovery.admit()
    assert len(claimed(session)) == 1


def test_limits_given_later_count_what_runs_already(make_job: Callable[..., Job], session: Session) -> None:
    job = make_job()
    request(job)
    [claim] = claim_next(session)
    Job.objects.filter(pk=job.pk).update(max_running=1)
    request(job)
    assert claim_next(session) == []
    settle_and_claim(session, [ended(claim)], None, actor="slot-1")
    assert len(claim_next(session)) == 1


def test_limits_taken_away_let_all_go(make_job: Callable[..., Job], session: Session) -> None:
    job = make_job("M", max_running=1)
    control.trigger_many(job="M", count=5, actor="ada")
    Job.objects.filter(pk=job.pk).update(max_running=None)
    recovery.admit()
    assert len(claimed(session)) == 5


def test_a_retry_takes_its_turn_anew(make_job: Callable[..., Job], session: Session) -> None:
    job = make_job(overlap="queue")
    first, second = request(job), request(job)
    [claim] = claim_next(session)
    [following] = settle_and_claim(session, [ended(claim, State.SCHEDULED)], claim_request(), actor="slot-1").claims
    assert following.run_id == second.pk
    recovery.promote()
    assert claim_next(session) == []
    settle_and_claim(session, [ended(following)], None, actor="slot-1")
    assert claimed(session) == [first.pk]


def test_a_lost_worker_and_a_cancelled_run_free_their_place(make_job: Callable[..., Job], session: Session) -> None:
    make_job("M", max_running=1, on_lost="fail")
    runs = control.trigger_many(job="M", count=3, actor="ada")
    claim_next(session, lease_seconds=-1)
    recovery.reap()
    control.cancel([runs[1].pk], actor="ada")
    assert claimed(session) == [runs[2].pk]


def test_requests_from_all_sides_at_once_never_overlap(
    make_job: Callable[..., Job], session: Session, transactional_db: None
) -> None:
    """Eight requesters and four slots: whatever they do at the same time, one run at a time and none is lost."""
    make_job("One", overlap="queue")
    per_requester, most, finished = 12, Counter[str](), threading.Event()

    def ask() -> None:
        for _ in range(per_requester):
            control.trigger(job="One", actor="ada")
        connection.close()

    def perform() -> None:
        own = Session()
        claims: list[Claim] = []
        while not finished.is_set():
            if claims:
                running = own("SELECT count(*) FROM jobs_run WHERE state = 'running'", {})[0][0]
                most["running"] = max(most["running"], running)
            claims = settle_and_claim(own, [ended(c) for c in claims], claim_request(), actor="slot").claims
            if not claims:
                finished.wait(0.005)
        settle_and_claim(own, [ended(c) for c in claims], None, actor="slot")
        own.close()

    requesters = [threading.Thread(target=ask) for _ in range(8)]
    slots = [threading.Thread(target=perform) for _ in range(4)]
    for thread in (*slots, *requesters):
        thread.start()
    for thread in requesters:
        thread.join()
    deadline = threading.Event()
    for _ in range(600):
        if not Run.objects.active().exists():
            break
        recovery.admit()
        deadline.wait(0.05)
    finished.set()
    for thread in slots:
        thread.join()
    assert Run.objects.filter(state="succeeded").count() == 8 * per_requester
    assert most["running"] == 1


def test_a_run_that_is_claimed_while_it_is_cancelled_is_asked_to_end(
    make_job: Callable[..., Job], session: Session
) -> None:
    run = request(make_job())
    session("BEGIN", {})
    [claim] = claim_next(session)  # not committed yet: the cancel waits for it
    states: dict[int, State] = {}

    def cancel() -> None:
        states.update(control.cancel([run.pk], actor="ada"))
        connection.close()

    cancelling = threading.Thread(target=cancel)
    cancelling.start()
    wait_for(lambda: _somebody_waits(), what="the cancel that waits")
    session("COMMIT", {})
    cancelling.join()
    run.refresh_from_db()
    assert (states, run.state, run.cancel_requested_by) == ({claim.run_id: State.RUNNING}, "running", "ada")


def _somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        return bool(cursor.fetchone()[0])
