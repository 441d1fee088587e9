"""Runs over REST: lists, one run in full, output while it runs and afterwards, cancel and retry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from jobs.models import Attempt, Job, Run
from jobs.services.outputs import piece
from jobs.services.reading import EXCERPT_CHARACTERS
from jobs.store import claims
from jobs.store.claims import Claim, Settlement
from jobs.store.session import Session
from jobsched.domain.states import State
from tests.integration.api import signed_in
from tests.integration.conftest import claim_next, keep_output

SIGN_IN_QUERIES = 2
"""The token with its user, and that user's other tokens."""


@pytest.fixture
def api(transactional_db: None) -> APIClient:
    return signed_in()


def finish(session: Session, claim: Claim, after: State = State.SUCCEEDED, **said: Any) -> None:
    values: dict[str, Any] = {
        "run_id": claim.run_id,
        "attempt": claim.attempt,
        "token": claim.token,
        "after": after,
        "reason": "",
        "again_in_seconds": 0.0 if after is State.SCHEDULED else None,
        "verdict": "failed" if after in (State.SCHEDULED, State.FAILED) else "succeeded",
        "flushed": True,
        **said,
    }
    assert claims.settle_and_claim(session, [Settlement(**values)], None, actor="slot-1").recorded


def test_a_list_is_paged_by_id_newest_first(api: APIClient, make_runs: Callable[..., list[Run]]) -> None:
    ids = [run.pk for run in make_runs(5)][::-1]

    first = api.get("/api/v1/runs/?limit=2").json()
    second = api.get(f"/api/v1/runs/?limit=2&before={first['next']}").json()
    third = api.get(f"/api/v1/runs/?limit=2&before={second['next']}").json()

    assert [[run["id"] for run in page["runs"]] for page in (first, second, third)] == [ids[:2], ids[2:4], ids[4:]]
    assert third["next"] is None


def test_a_list_can_be_narrowed(
    api: APIClient, make_job: Callable[..., Job], make_runs: Callable[..., list[Run]], session: Session
) -> None:
    other = make_job("Other")
    theirs = make_runs(1, job_id=other.pk, trigger="backfill")[0].pk
    ours = make_runs(2)
    running = claim_next(session)[0].run_id

    def listed(query: str) -> list[int]:
        return [run["id"] for run in api.get(f"/api/v1/runs/?{query}").json()["runs"]]

    assert listed("job=Other") == [theirs]
    assert listed("state=running") == [running]
    assert listed("trigger=backfill") == [theirs]
    assert listed("trigger=backfill&job=Noop") == []
    assert listed("trigger=request&limit=1") == [ours[1].pk]
    assert listed(f"trigger=request&limit=1&before={ours[1].pk}") == [ours[0].pk]
    assert listed("project=default&job=Noop&state=queued") == [run.pk for run in reversed(ours) if run.pk != running]
    assert listed("project=elsewhere") == []


@pytest.mark.parametrize("count", [1, 20])
def test_a_list_costs_the_same_queries_however_long(
    api: APIClient,
    make_runs: Callable[..., list[Run]],
    django_assert_num_queries: DjangoAssertNumQueries,
    count: int,
) -> None:
    make_runs(count)
    with django_assert_num_queries(SIGN_IN_QUERIES + 1):
        assert len(api.get("/api/v1/runs/").json()["runs"]) == count


@pytest.mark.parametrize("attempts", [1, 4])
def test_one_run_costs_the_same_queries_whatever_happened_to_it(
    api: APIClient,
    make_runs: Callable[..., list[Run]],
    session: Session,
    django_assert_num_queries: DjangoAssertNumQueries,
    attempts: int,
) -> None:
    run = make_runs(1)[0]
    for _ in range(attempts):
        finish(session, claim_next(session)[0], State.QUEUED, verdict="handed_back")
    with django_assert_num_queries(SIGN_IN_QUERIES + 5):
        assert len(api.get(f"/api/v1/runs/{run.pk}/").json()["attempts"]) == attempts


def test_a_run_tells_its_attempts_and_transitions(
    api: APIClient, make_job: Callable[..., Job], make_runs: Callable[..., list[Run]], session: Session
) -> None:
    job = make_job("Counted", retries={"max": 2}, params={"a": 1, "b": 1}, priority=7)
    run = make_runs(1, job_id=job.pk, params={"b": 2}, requested_by="ann")[0]
    section = {"name": "Build", "verdict": "failed", "exit_code": 137, "signal": 9, "output": "boom"}
    finish(
        session,
        claim_next(session)[0],
        State.FAILED,
        reason="exit code 3",
        attempt_reason="exit code 3",
        exit_code=137,
        signal=9,
        warning="1 process was still running",
        output="boom\n",
        output_total=5,
        sections=[section],
        killed=1,
    )

    told = api.get(f"/api/v1/runs/{run.pk}/").json()

    expected = {
        "id": run.pk,
        "project": "default",
        "job": "Counted",
        "state": "failed",
        "reason": "exit code 3",
        "trigger": "request",
        "requested_by": "ann",
        "queue": "default",
        "priority": 7,
        "attempt": 1,
        "max_attempts": 3,
        "worker": "slot-1",
        "exit_code": 137,
        "signal": 9,
        "warning": "1 process was still running",
        "params": {"a": 1, "b": 2},
        "version": 1,
        "scheduled_for": None,
    }
    assert {key: told[key] for key in expected} == expected
    assert told["finished_at"] >= told["started_at"] >= told["created_at"]
    assert told["created_at"].endswith("Z")
    [attempt] = told["attempts"]
    assert attempt["duration_seconds"] >= 0
    recorded = {
        "number": 1,
        "verdict": "failed",
        "exit_code": 137,
        "signal": 9,
        "warning": "1 process was still running",
        "output": "boom\n",
        "sections": [section],
        "killed": 1,
    }
    assert {key: attempt[key] for key in recorded} == recorded
    changes = [(t["before"], t["after"], t["attempt"], t["actor"]) for t in told["transitions"]]
    assert changes == [
        (None, "queued", 0, "ann"),
        ("queued", "running", 1, "slot-1"),
        ("running", "failed", 1, "slot-1"),
    ]


def test_beside_an_attempt_stands_the_end_of_its_output(
    api: APIClient, make_runs: Callable[..., list[Run]], session: Session
) -> None:
    run = make_runs(1)[0]
    finish(session, claim_next(session)[0], output="x" * 50_000 + "end")
    [attempt] = api.get(f"/api/v1/runs/{run.pk}/").json()["attempts"]
    assert len(attempt["output"]) == EXCERPT_CHARACTERS
    assert attempt["output"].endswith("xend")


class TestOutput:
    def test_of_a_run_that_waits_is_empty(self, api: APIClient, make_runs: Callable[..., list[Run]]) -> None:
        run = make_runs(1)[0]
        answer = api.get(f"/api/v1/runs/{run.pk}/output").json()
        assert answer == {"output": "", "offset": 0, "finished": False, "attempt": 0}

    def test_of_a_run_that_was_cancelled_before_it_began_is_finished(
        self, api: APIClient, make_runs: Callable[..., list[Run]]
    ) -> None:
        run = make_runs(1)[0]
        api.post(f"/api/v1/runs/{run.pk}/cancel")
        assert api.get(f"/api/v1/runs/{run.pk}/output").json()["finished"] is True

    def test_can_be_read_while_it_runs_and_goes_on_at_the_same_offset_when_it_has_ended(
        self, api: APIClient, make_runs: Callable[..., list[Run]], session: Session
    ) -> None:
        # An invalid byte, a NUL and a character cut in two: offsets count the bytes that were printed.
        raw = b"caf\xc3\xa9 \xff\x00 | \xe2\x82"
        run = make_runs(1)[0]
        claim = claim_next(session)[0]
        keep_output(session, claim, 0, raw[:4])
        first = api.get(f"/api/v1/runs/{run.pk}/output").json()
        keep_output(session, claim, 4, raw[4:])
        second = api.get(f"/api/v1/runs/{run.pk}/output?offset={first['offset']}").json()
        nothing = api.get(f"/api/v1/runs/{run.pk}/output?offset={second['offset']}").json()
        text = (raw + b"\xac end").decode(errors="replace").replace("\0", "\ufffd")
        keep_output(session, claim, len(raw), b"\xac end")
        finish(session, claim, output=text, output_total=len(raw) + 5, flushed=False)
        last = api.get(f"/api/v1/runs/{run.pk}/output?offset={second['offset']}").json()

        assert (first["output"], first["offset"], first["finished"]) == ("caf", 3, False)
        assert (second["output"], second["finished"]) == ("é \ufffd\ufffd | ", False)
        assert nothing == {**second, "output": ""}
        assert (last["output"], last["finished"]) == ("€ end", True)
        assert first["output"] + second["output"] + last["output"] == text

    def test_of_an_earlier_attempt_can_be_named(
        self, api: APIClient, make_runs: Callable[..., list[Run]], session: Session
    ) -> None:
        run = make_runs(1)[0]
        finish(session, claim_next(session)[0], State.QUEUED, output="first")
        claim = claim_next(session)[0]
        keep_output(session, claim, 0, b"second")

        def read(query: str = "") -> tuple[str, bool, int]:
            part = api.get(f"/api/v1/runs/{run.pk}/output{query}").json()
            return part["output"], part["finished"], part["attempt"]

        assert read() == ("second", False, 2)
        assert read("?attempt=1") == ("first", True, 1)
        assert api.get(f"/api/v1/runs/{run.pk}/output?attempt=3").status_code == 404


@given(
    st.text().map(lambda text: text.encode("utf-8", "replace")),
    st.integers(min_value=4, max_value=20),
    st.integers(min_value=0, max_value=60),
)
def test_pieces_never_split_a_character_and_make_up_the_whole(kept: bytes, limit: int, anywhere: int) -> None:
    read, offset = "", 0
    while offset < len(kept):
        text, following = piece(kept, offset, limit)
        assert text, "each piece gets further"
        read, offset = read + text, following
    assert read == kept.decode()
    text, following = piece(kept, anywhere, limit)
    assert text.encode() in kept
    assert following >= min(anywhere, len(kept))


def test_cancel_ends_a_waiting_run_and_asks_a_running_one(
    api: APIClient, make_runs: Callable[..., list[Run]], session: Session
) -> None:
    running, waiting = make_runs(2)
    claim_next(session)

    ended = api.post(f"/api/v1/runs/{waiting.pk}/cancel").json()
    asked = api.post(f"/api/v1/runs/{running.pk}/cancel").json()
    again = api.post(f"/api/v1/runs/{waiting.pk}/cancel")

    assert (ended["state"], ended["cancel_requested_by"]) == ("cancelled", "ann")
    assert (asked["state"], asked["cancel_requested_by"]) == ("running", "ann")
    assert asked["cancel_requested_at"]
    assert again.status_code == 409
    assert "was cancelled" in again.json()["error"]


def test_retry_makes_a_new_run_once_the_old_one_has_ended(api: APIClient, make_runs: Callable[..., list[Run]]) -> None:
    run = make_runs(1, params={"n": 1}, priority=8)[0]
    early = api.post(f"/api/v1/runs/{run.pk}/retry")
    api.post(f"/api/v1/runs/{run.pk}/cancel")
    made = api.post(f"/api/v1/runs/{run.pk}/retry")

    assert early.status_code == 409
    assert "queued" in early.json()["error"]
    assert made.status_code == 201
    assert made.json()["id"] != run.pk
    assert {key: made.json()[key] for key in ("trigger", "params", "priority", "state", "requested_by")} == {
        "trigger": "retry",
        "params": {"n": 1},
        "priority": 8,
        "state": "queued",
        "requested_by": "ann",
    }


def test_a_retry_of_a_unique_job_returns_the_run_that_waits(
    api: APIClient, make_job: Callable[..., Job], make_runs: Callable[..., list[Run]]
) -> None:
    make_job("Once", unique_waiting=True)
    old = api.post("/api/v1/jobs/Once/trigger").json()["id"]
    api.post(f"/api/v1/runs/{old}/cancel")
    first, second = (api.post(f"/api/v1/runs/{old}/retry") for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json()["id"] == first.json()["id"] != old


def test_a_run_tells_what_holds_it(api: APIClient, make_job: Callable[..., Job]) -> None:
    make_job("Free")
    make_job("Kept", max_running=1, concurrency_key="customer-{customer}", overlap="queue", params={"customer": 7})
    free, first, second = (api.post(f"/api/v1/jobs/{name}/trigger").json() for name in ("Free", "Kept", "Kept"))
    assert [(run["held"], run["lane"]) for run in (free, first, second)] == [
        (None, None),
        (None, "customer-7"),
        ("job", "customer-7"),
    ]
    ended = api.post(f"/api/v1/runs/{second['id']}/cancel").json()
    assert (ended["state"], ended["held"]) == ("cancelled", None)


def test_reading_changes_nothing(api: APIClient, make_runs: Callable[..., list[Run]], session: Session) -> None:
    run = make_runs(1)[0]
    finish(session, claim_next(session)[0], output="x")
    before = list(Run.objects.values()), list(Attempt.objects.values())
    for path in ("", "output"):
        api.get(f"/api/v1/runs/{run.pk}/{path}")
    assert (list(Run.objects.values()), list(Attempt.objects.values())) == before
