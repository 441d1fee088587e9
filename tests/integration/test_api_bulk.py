"""Many runs over REST: found by what they have in common, cancelled, retried."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from jobs.models import Job, Run, Transition
from jobs.store import claims
from jobs.store.claims import Settlement
from jobs.store.session import Session
from jobsched.domain.states import State
from tests.integration.api import signed_in
from tests.integration.conftest import claim_next

RUNS = "/api/v1/runs/"


@pytest.fixture
def api(transactional_db: None) -> APIClient:
    return signed_in()


@pytest.fixture
def end(session: Session) -> Callable[..., int]:
    """Perform the next run of a queue as a worker slot would record it; return its number."""

    def do(after: State = State.FAILED, *, queue: str = "default", **said: Any) -> int:
        claim = claim_next(session, queue)[0]
        verdict = "timed_out" if after is State.TIMED_OUT else "succeeded" if after is State.SUCCEEDED else "failed"
        values: dict[str, Any] = {
            "run_id": claim.run_id,
            "attempt": claim.attempt,
            "token": claim.token,
            "after": after,
            "reason": "",
            "again_in_seconds": 0.0 if after is State.SCHEDULED else None,
            "verdict": verdict,
            **said,
        }
        assert claims.settle_and_claim(session, [Settlement(**values)], None, actor="slot-1").recorded
        return claim.run_id

    return do


def listed(api: APIClient, query: str) -> list[int]:
    answer = api.get(f"{RUNS}?{query}")
    assert answer.status_code == 200, answer.json()
    return [run["id"] for run in answer.json()["runs"]]


class TestFinding:
    @pytest.fixture
    def four(self, make_job: Callable[..., Job], make_runs: Callable[..., list[Run]], end: Callable[..., int]) -> Any:
        """A failed run, one that timed out, one that succeeded, and one that waits."""
        other = make_job("Other", queue="slow")
        make_runs(3)
        failed = end(reason="exit code 3: Disk full", exit_code=3)
        timed_out = end(
            State.TIMED_OUT, reason="ran too long", exit_code=137, signal=9, error="requests.ConnectTimeout"
        )
        succeeded = end(State.SUCCEEDED, exit_code=0)
        waiting = make_runs(1, job_id=other.pk, trigger="backfill")[0].pk
        return failed, timed_out, succeeded, waiting

    def test_by_what_they_have_in_common(self, api: APIClient, four: tuple[int, int, int, int]) -> None:
        failed, timed_out, succeeded, waiting = four
        everything = [waiting, succeeded, timed_out, failed]
        for query, found in {
            "": everything,
            "state=failed,timed_out": [timed_out, failed],
            "state=failed%2C+timed_out&retried=no": [timed_out, failed],
            "state=queued": [waiting],
            "queue=slow": [waiting],
            "queue=elsewhere": [],
            "reason=disk+FULL": [failed],
            "reason=%25": [],
            "exit_code=3": [failed],
            "exit_code=0": [succeeded],
            "exit_code=137": [timed_out],
            "signal=9": [timed_out],
            "signal=kill": [timed_out],
            "signal=SIGKILL&exit_code=137": [timed_out],
            "signal=TERM": [],
            "error=ConnectTimeout": [timed_out],
            "error=requests.ConnectTimeout": [timed_out],
            "error=Timeout": [],
            "exit_code=3&error=ConnectTimeout": [],
            "worker=slot-1": [succeeded, timed_out, failed],
            "worker=slot": [],
            "trigger=backfill": [waiting],
            "job=Other&project=default": [waiting],
            "project=elsewhere": [],
            "retried=yes": [],
            "since=1h": everything,
            "since=1h&by=finished": [succeeded, timed_out, failed],
            "to=2020-01-01T00:00:00Z": [],
        }.items():
            assert listed(api, query) == found, query

    def test_a_worker_names_all_its_slots(
        self, api: APIClient, make_runs: Callable[..., list[Run]], end: Callable[..., int]
    ) -> None:
        make_runs(2)
        mine, other = end(), end()
        Run.objects.filter(pk=mine).update(worker="celery@a/12")
        Run.objects.filter(pk=other).update(worker="celery@ab/12")
        assert listed(api, "worker=celery@a") == listed(api, "worker=celery@a/12") == [mine]

    def test_between_moments_both_included(
        self, api: APIClient, make_runs: Callable[..., list[Run]], end: Callable[..., int]
    ) -> None:
        noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
        ids = [run.pk for run in make_runs(3)]
        for hours, run_id in enumerate(ids):
            Run.objects.filter(pk=run_id).update(created_at=noon + timedelta(hours=hours))
        assert listed(api, "from=2026-03-01T12:00:00Z&to=2026-03-01T13:00:00Z") == [ids[1], ids[0]]
        assert listed(api, "from=2026-03-01T12:00:00.000001Z") == [ids[2], ids[1]]
        assert listed(api, "from=2026-03-01T12:00:00Z&by=finished") == []

    def test_the_list_tells_how_the_last_attempt_ended_without_a_query_more(
        self,
        api: APIClient,
        make_job: Callable[..., Job],
        make_runs: Callable[..., list[Run]],
        end: Callable[..., int],
        django_assert_num_queries: DjangoAssertNumQueries,
    ) -> None:
        job = make_job("Tried", retries={"max": 1})
        make_runs(1, job_id=job.pk)
        end(State.QUEUED, exit_code=1)
        run_id = end(reason="it broke", exit_code=143, signal=15, http_status=503, error="Broken")
        make_runs(1)
        with django_assert_num_queries(3):
            waiting, failed = api.get(RUNS).json()["runs"]
        told = ("id", "reason", "exit_code", "signal", "http_status", "error", "attempt", "max_attempts")
        assert [failed[key] for key in told] == [run_id, "it broke", 143, 15, 503, "Broken", 2, 2]
        assert [waiting[key] for key in told[2:6]] == [None, None, None, None]

    @pytest.mark.parametrize(
        ("query", "sentence"),
        [
            ("state=", "state"),
            ("state=failed,asleep", "asleep"),
            ("retried=perhaps", "retried"),
            ("since=yesterday", "'yesterday' is not a duration"),
            ("since=1h&from=2026-01-01T00:00:00Z", "leave one out"),
            ("by=luck", "by"),
            ("exit_code=99999999999", "exit_code"),
            ("signal=HARD", "is not a signal"),
            ("signal=0", "is not a signal"),
            ("signal=%00", "signal"),
            ("from=2026-01-01T00:00:00", "must name its time zone"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, api: APIClient, query: str, sentence: str) -> None:
        answer = api.get(f"{RUNS}?{query}")
        assert answer.status_code == 400
        assert sentence in answer.json()["error"]


class TestCancellingMany:
    def test_ends_what_waits_and_asks_what_runs(
        self, api: APIClient, make_job: Callable[..., Job], make_runs: Callable[..., list[Run]], session: Session
    ) -> None:
        other = make_runs(1, job_id=make_job("Other", queue="slow").pk)[0]
        runs = make_runs(4)
        running = claim_next(session)[0].run_id

        counted = api.post(f"{RUNS}cancel", {"job": "Noop", "dry_run": True}, format="json").json()
        assert Run.objects.filter(state="cancelled").count() == 0
        done = api.post(f"{RUNS}cancel", {"job": "Noop"}, format="json")
        again = api.post(f"{RUNS}cancel", {"job": "Noop"}, format="json").json()

        assert counted == done.json() == {"ended": 3, "asked": 1, "next": None}
        assert again == {"ended": 0, "asked": 0, "next": None}
        states = dict(Run.objects.values_list("pk", "state"))
        assert states == {
            **{run.pk: "cancelled" for run in runs},
            running: "running",
            other.pk: "queued",
        }
        assert Run.objects.get(pk=running).cancel_requested_by == "ann"
        assert Transition.objects.filter(after="cancelled", actor="ann", reason="cancelled by ann").count() == 3

    def test_of_one_state_leaves_the_others(
        self, api: APIClient, make_runs: Callable[..., list[Run]], session: Session
    ) -> None:
        make_runs(2)
        running = claim_next(session)[0].run_id
        assert api.post(f"{RUNS}cancel", {"state": "queued"}, format="json").json()["ended"] == 1
        assert Run.objects.get(pk=running).cancel_requested_at is None
        assert api.post(f"{RUNS}cancel", {"state": ["running"]}, format="json").json()["asked"] == 1

    def test_goes_on_where_it_was_left_and_never_reaches_what_was_made_meanwhile(
        self, api: APIClient, make_runs: Callable[..., list[Run]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("jobs.services.bulk.BATCH", 2)
        ids = [run.pk for run in make_runs(7)]
        first = api.post(f"{RUNS}cancel", {"job": "Noop", "limit": 3}, format="json").json()
        assert first == {"ended": 3, "asked": 0, "next": ids[4]}
        new = make_runs(1)[0].pk
        rest = api.post(f"{RUNS}cancel", {"job": "Noop", "before": first["next"]}, format="json").json()
        assert rest == {"ended": 4, "asked": 0, "next": None}
        assert list(Run.objects.filter(state="queued").values_list("pk", flat=True)) == [new]

    def test_frees_the_lane_for_the_next(self, api: APIClient, make_job: Callable[..., Job]) -> None:
        make_job("One", max_running=1, overlap="queue")
        first = api.post("/api/v1/jobs/One/trigger", {"priority": 9}, format="json").json()["id"]
        api.post("/api/v1/jobs/One/trigger", {"priority": 1}, format="json")
        Run.objects.filter(pk=first).update(reason="this one")
        api.post(f"{RUNS}cancel", {"reason": "this one"}, format="json")
        assert list(Run.objects.values_list("state", "held").order_by("pk")) == [("cancelled", 0), ("queued", 0)]

    @pytest.mark.parametrize(
        ("asked", "sentence"),
        [
            ({}, "The filter is empty"),
            ({"by": "finished", "limit": 5}, "The filter is empty"),
            ({"state": "failed"}, "Runs that are failed have ended"),
            ({"job": "Noop", "state": "queued,skipped"}, "Runs that are skipped have ended"),
            ({"jobs": "Noop"}, "there is no key 'jobs'"),
            ({"job": "Noop", "limit": 5001}, "limit"),
        ],
    )
    def test_refuses_what_cannot_be_meant(
        self, api: APIClient, make_runs: Callable[..., list[Run]], asked: dict[str, Any], sentence: str
    ) -> None:
        make_runs(1)
        for dry_run in (True, False):
            answer = api.post(f"{RUNS}cancel", {**asked, "dry_run": dry_run}, format="json")
            assert answer.status_code == 400
            assert sentence in answer.json()["error"]
        assert Run.objects.filter(state="queued").count() == 1


class TestRetryingMany:
    def test_repeats_each_failure_once_as_it_was(
        self, api: APIClient, make_runs: Callable[..., list[Run]], end: Callable[..., int], job: Job
    ) -> None:
        make_runs(1, params={"n": 1}, priority=8, scheduled_for=datetime(2026, 3, 1, tzinfo=UTC))
        make_runs(2)
        failed, timed_out, _ = end(), end(State.TIMED_OUT), end(State.SUCCEEDED)
        Job.objects.filter(pk=job.pk).update(priority=3, params={"n": 5})

        counted = api.post(f"{RUNS}retry", {"job": "Noop", "dry_run": True}, format="json").json()
        done = api.post(f"{RUNS}retry", {"job": "Noop"}, format="json").json()
        again = api.post(f"{RUNS}retry", {"job": "Noop"}, format="json").json()

        assert counted == {"matching": 2}
        assert done == {"made": 2, "skipped": 0, "waiting": 0, "refused": 0, "why": "", "next": None}
        assert again["made"] == 0
        first, second = Run.objects.filter(trigger="retry").order_by("pk")
        assert (first.retry_of, second.retry_of) == (failed, timed_out)
        assert (first.params, first.priority, first.state, first.requested_by) == ({"n": 1}, 8, "queued", "ann")
        assert first.scheduled_for == datetime(2026, 3, 1, tzinfo=UTC)
        assert first.run_at > datetime(2026, 11, 1, tzinfo=UTC), "it waits behind what was there before it"
        old = Run.objects.get(pk=failed)
        assert first.definition_id == old.definition_id != Job.objects.get(pk=job.pk).definition_id
        assert listed(api, "state=failed,timed_out&retried=no") == []
        assert listed(api, "retried=yes") == [timed_out, failed]

    def test_by_the_definition_as_it_is_now(
        self, api: APIClient, make_runs: Callable[..., list[Run]], end: Callable[..., int], job: Job
    ) -> None:
        make_runs(2, priority=8)
        ids = [end(), end()]
        Job.objects.filter(pk=job.pk).update(spec={"command": "mended"})
        api.post(f"{RUNS}retry", {"state": "failed", "definition": "now", "limit": 1}, format="json")
        one = api.post(f"{RUNS}{ids[0]}/retry", {"definition": "now"}, format="json")
        assert one.status_code == 201
        present = Job.objects.get(pk=job.pk).definition_id
        made = Run.objects.filter(trigger="retry").values_list("retry_of", "definition_id", "priority")
        assert list(made.order_by("retry_of")) == [(ids[0], present, 8), (ids[1], present, 8)]
        assert present != Run.objects.get(pk=ids[0]).definition_id

    def test_what_failed_again_is_a_dead_end_of_its_own(
        self, api: APIClient, make_runs: Callable[..., list[Run]], end: Callable[..., int]
    ) -> None:
        make_runs(1)
        first = end()
        api.post(f"{RUNS}retry", {"job": "Noop"}, format="json")
        second = end()
        assert listed(api, "state=failed&retried=no") == [second]
        story = api.get(f"{RUNS}{first}/").json()
        assert story["retries"] == [second]
        assert api.get(f"{RUNS}{second}/").json()["retry_of"] == first

    def test_one_run_can_be_retried_by_hand_again(
        self, api: APIClient, make_runs: Callable[..., list[Run]], end: Callable[..., int]
    ) -> None:
        make_runs(1)
        run_id = end()
        ids = [api.post(f"{RUNS}{run_id}/retry").json()["id"] for _ in range(2)]
        assert api.get(f"{RUNS}{run_id}/").json()["retries"] == ids

    def test_limits_hold_and_what_they_keep_back_stays_a_dead_end(
        self, api: APIClient, make_job: Callable[..., Job], make_runs: Callable[..., list[Run]], end: Callable[..., int]
    ) -> None:
        skips = make_job("Skips")
        once = make_job("Once")
        make_runs(2, job_id=skips.pk)
        make_runs(2, job_id=once.pk)
        ids = [end() for _ in range(4)]
        Job.objects.filter(pk=skips.pk).update(overlap="skip")
        Job.objects.filter(pk=once.pk).update(unique_waiting=True)
        done = api.post(f"{RUNS}retry", {"state": "failed"}, format="json").json()
        assert (done["made"], done["skipped"], done["waiting"]) == (2, 1, 1)
        assert listed(api, "state=failed&retried=no") == [ids[3], ids[1]]

    def test_one_that_cannot_be_repeated_does_not_keep_the_others(
        self, api: APIClient, make_job: Callable[..., Job], make_runs: Callable[..., list[Run]], end: Callable[..., int]
    ) -> None:
        keyed = make_job("Keyed")
        make_runs(1, job_id=keyed.pk)
        make_runs(1, job_id=keyed.pk, params={"customer": 7})
        gone = make_job("Gone")
        make_runs(1, job_id=gone.pk)
        ids = [end() for _ in range(3)]
        Job.objects.filter(pk=keyed.pk).update(concurrency_key="c-{customer}", overlap="queue")
        Job.objects.filter(pk=gone.pk).update(archived_at=datetime.now(UTC))
        done = api.post(f"{RUNS}retry", {"state": "failed", "definition": "now"}, format="json").json()
        assert (done["made"], done["refused"]) == (1, 2)
        assert "customer" in done["why"] or "was deleted" in done["why"]
        assert list(Run.objects.filter(trigger="retry").values_list("retry_of", "lane")) == [(ids[1], "c-7")]
        refused = api.post(f"{RUNS}{ids[2]}/retry", {"definition": "now"}, format="json")
        assert (refused.status_code, "was deleted" in refused.json()["error"]) == (409, True)
        assert api.post(f"{RUNS}{ids[2]}/retry", {"definition": "then"}, format="json").status_code == 201

    @pytest.mark.parametrize(
        ("asked", "sentence"),
        [
            ({}, "The filter is empty"),
            ({"retried": "no"}, "The filter is empty"),
            ({"state": "queued"}, "Runs that are queued have not ended"),
            ({"job": "Noop", "retried": "yes"}, "name the run itself"),
            ({"job": "Noop", "definition": "later"}, "definition"),
        ],
    )
    def test_refuses_what_cannot_be_meant(
        self,
        api: APIClient,
        make_runs: Callable[..., list[Run]],
        end: Callable[..., int],
        asked: dict[str, Any],
        sentence: str,
    ) -> None:
        make_runs(1)
        end()
        answer = api.post(f"{RUNS}retry", asked, format="json")
        assert answer.status_code == 400
        assert sentence in answer.json()["error"]
        assert Run.objects.count() == 1


class TestReceipts:
    def test_a_cancelled_run_tells_who_asked_and_what_died(
        self, api: APIClient, make_runs: Callable[..., list[Run]], end: Callable[..., int]
    ) -> None:
        died = [{"pid": 12, "name": "sleep", "ended": "signal 15 (SIGTERM)"}]
        make_runs(1)
        run_id = end(State.CANCELLED, verdict="cancelled", processes=died, killed=1)
        told = api.get(f"{RUNS}{run_id}/").json()
        assert told["attempts"][0]["processes"] == died
        assert told["cancelling"] == ""

    def test_a_request_says_when_it_takes_effect(
        self, api: APIClient, make_runs: Callable[..., list[Run]], session: Session
    ) -> None:
        run_id = make_runs(1)[0].pk
        claim_next(session, lease_seconds=30)
        told = api.post(f"{RUNS}{run_id}/cancel").json()
        until = datetime.fromisoformat(told["lease_until"])
        assert told["state"] == "running"
        assert "the request is recorded" in told["cancelling"]
        assert "at its next heartbeat at the latest (every 5 seconds)" in told["cancelling"]
        assert f"ends with its lease, at {until:%Y-%m-%d %H:%M:%S} UTC" in told["cancelling"]

    def test_a_worker_that_is_gone_is_said_to_be(
        self, api: APIClient, make_runs: Callable[..., list[Run]], session: Session
    ) -> None:
        run_id = make_runs(1)[0].pk
        claim_next(session, lease_seconds=-5)
        told = api.post(f"{RUNS}{run_id}/cancel").json()
        assert "has given no sign of life within its lease" in told["cancelling"]

    def test_limits_on_time_are_told_while_they_matter(
        self, api: APIClient, make_job: Callable[..., Job], make_runs: Callable[..., list[Run]], session: Session
    ) -> None:
        job = make_job("Soon", max_wait=timedelta(minutes=5), deadline=timedelta(hours=1))
        run_id = make_runs(1, job_id=job.pk)[0].pk
        told = api.get(f"{RUNS}{run_id}/").json()
        made = datetime.fromisoformat(told["created_at"])
        assert told["wait_seconds"] == 300
        assert abs(datetime.fromisoformat(told["expires_at"]) - made - timedelta(minutes=5)) < timedelta(seconds=1)
        assert abs(datetime.fromisoformat(told["deadline_at"]) - made - timedelta(hours=1)) < timedelta(seconds=1)
        claim_next(session)
        told = api.get(f"{RUNS}{run_id}/").json()
        assert (told["state"], told["expires_at"]) == ("running", None)
        assert told["deadline_at"]
