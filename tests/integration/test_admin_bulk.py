"""Dead ends in the admin, and all runs of a list at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.http import QueryDict
from django.test import Client

from jobs.admin.run_filters import asked
from jobs.models import Job, Run
from jobs.services import bulk, control
from jobs.store import claims
from jobs.store.claims import Settlement
from jobs.store.session import Session
from jobsched.domain.errors import InvalidInput
from jobsched.domain.states import State
from tests.integration.conftest import claim_next

LIST = "/admin/jobs/run/"
HOSTILE = "<script>alert(1)</script>"


def _signed_in(name: str, *codenames: str) -> Client:
    user = User.objects.create_user(name, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def operator(transactional_db: None) -> Client:
    return _signed_in("operator", "view_run", "change_run")


@pytest.fixture
def fail(session: Session) -> Callable[..., int]:
    """Perform the next run, which fails unless it is said otherwise; return its number."""

    def do(after: State = State.FAILED, **said: Any) -> int:
        claim = claim_next(session)[0]
        values: dict[str, Any] = {
            "run_id": claim.run_id,
            "attempt": claim.attempt,
            "token": claim.token,
            "after": after,
            "reason": "",
            "again_in_seconds": None,
            "verdict": str(after),
            **said,
        }
        assert claims.settle_and_claim(session, [Settlement(**values)], None, actor="slot-1").recorded
        return claim.run_id

    return do


def _page(response: Any) -> str:
    assert response.status_code == 200
    return str(response.content.decode())


def _ids(client: Client, query: str) -> list[int]:
    return [run.pk for run in client.get(LIST + query).context["cl"].result_list]


def test_dead_ends_are_shown_with_what_they_ended_with(
    operator: Client, make_runs: Callable[..., list[Run]], fail: Callable[..., int]
) -> None:
    make_runs(4)
    first = fail(reason="exit code 3", exit_code=3)
    second = fail(State.TIMED_OUT, error="Late", http_status=504, exit_code=137, signal=9)
    fail(State.SUCCEEDED, exit_code=0)
    again = control.retry(first, actor="ann")
    assert _ids(operator, "?failed=open") == [second]
    assert _ids(operator, "?failed=all") == [second, first]
    page = _page(operator.get(LIST + "?failed=all"))
    for told in (
        "exit code 3",
        "exit code 137, signal 9 (SIGKILL), HTTP 504, Late",
        "attempt 1 of 1",
        "Failed, not retried yet",
    ):
        assert told in page
    assert f'/admin/jobs/run/{again.pk}/change/">#{again.pk}</a>' in _page(operator.get(f"{LIST}{first}/change/"))
    assert f'/admin/jobs/run/{first}/change/">#{first}</a>' in _page(operator.get(f"{LIST}{again.pk}/change/"))


def test_a_list_and_its_filter_mean_the_same_runs(
    operator: Client, make_job: Callable[..., Job], make_runs: Callable[..., list[Run]], fail: Callable[..., int]
) -> None:
    other = make_job("Other", queue="slow")
    made = make_runs(5)
    make_runs(1, job_id=other.pk, trigger="backfill")
    fail(reason="the disk is full", exit_code=3)
    fail(State.TIMED_OUT, error="a.Late", exit_code=137, signal=9)
    fail(State.SUCCEEDED)
    Run.objects.filter(pk=made[4].pk).update(created_at=made[4].created_at - timedelta(days=40))
    midnight = made[0].created_at.replace(hour=0, minute=0, second=0, microsecond=0)
    sizes = set()
    for query in (
        "failed=open",
        "failed=all&state__exact=failed",
        "failed=maybe",
        "state__exact=queued",
        "state__exact=failed&reason=DISK",
        "trigger__exact=backfill",
        "queue=slow",
        f"job={other.pk}",
        "job=nonsense",
        "project=default&exit_code=3",
        "exit_code=three",
        "signal=kill",
        "signal=137",
        "error=Late",
        "worker=slot-1",
        f"created_at__gte={midnight.isoformat(sep=' ').replace('+', '%2B')}",
        f"created_at__lt={midnight.isoformat(sep=' ').replace('+', '%2B')}",
    ):
        shown = _ids(operator, f"?{query}")
        try:
            meant = asked(QueryDict(query).dict()).of(Run.objects.order_by("-pk"))
        except InvalidInput:
            assert shown == [], query
        else:
            assert list(meant.values_list("pk", flat=True)) == shown, query
        sizes.add(len(shown))
    assert sizes >= {0, 1, 2, 3}


def test_all_runs_of_a_list_are_cancelled_once_that_was_confirmed(
    operator: Client,
    make_job: Callable[..., Job],
    make_runs: Callable[..., list[Run]],
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bulk, "BATCH", 7)
    other = make_runs(1, job_id=make_job("Other").pk)[0]
    runs = make_runs(60)
    Run.objects.filter(pk=other.pk).update(priority=0)
    running = claim_next(session)[0].run_id
    query = f"?job={runs[0].job_id}"
    assert f'href="/admin/jobs/run/cancel/{query}"' in _page(operator.get(f"{LIST}{query}&id__lt={runs[50].pk}"))

    page = _page(operator.get(f"{LIST}cancel/{query}"))
    assert "59 waiting runs would be cancelled, and 1 running run asked to end." in page
    assert not Run.objects.filter(state="cancelled").exists()

    page = _page(operator.post(f"{LIST}cancel/{query}", follow=True))
    assert "59 runs cancelled, 1 running run asked to end." in page
    assert Run.objects.filter(state="cancelled", cancel_requested_by="operator").count() == 59
    assert Run.objects.get(pk=running).cancel_requested_by == "operator"
    assert control.run(other.pk).state == State.QUEUED
    assert 'type="submit" class="default"' not in _page(operator.get(f"{LIST}cancel/{query}"))


def test_a_page_that_takes_long_says_that_there_is_more(
    operator: Client, make_runs: Callable[..., list[Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_runs(3)
    monkeypatch.setattr("jobs.admin.run_many.PATIENCE_SECONDS", -1)
    cancel = bulk.cancel
    monkeypatch.setattr(bulk, "cancel", lambda *args, **options: cancel(*args, **options, limit=1))
    page = _page(operator.post(f"{LIST}cancel/?queue=default", follow=True))
    assert "1 run cancelled, 0 running runs asked to end. There are more than one page can handle" in page
    assert "2 waiting runs would be cancelled" in page


@pytest.mark.parametrize("definition", ["then", "now"])
def test_all_failures_of_a_list_are_retried(
    definition: str, operator: Client, job: Job, make_runs: Callable[..., list[Run]], fail: Callable[..., int]
) -> None:
    make_runs(3)
    failed = [fail(), fail()]
    fail(State.SUCCEEDED)
    Job.objects.filter(pk=job.pk).update(spec={"command": "mended"})
    job.refresh_from_db()
    page = _page(operator.get(f"{LIST}retry/?failed=open"))
    assert "2 runs would be retried" in page and not Run.objects.filter(trigger="retry").exists()
    page = _page(operator.post(f"{LIST}retry/?failed=open", {"definition": definition}, follow=True))
    assert "2 new runs requested." in page
    made = Run.objects.filter(trigger="retry", requested_by="operator").order_by("retry_of")
    assert [run.retry_of for run in made] == failed
    assert {run.definition_id == job.definition_id for run in made} == {definition == "now"}


def test_one_run_is_retried_with_the_present_definition(
    operator: Client, job: Job, make_runs: Callable[..., list[Run]], fail: Callable[..., int]
) -> None:
    make_runs()
    run_id = fail()
    assert "Retry with the present definition" not in _page(operator.get(f"{LIST}{run_id}/change/"))
    Job.objects.filter(pk=job.pk).update(spec={"command": "mended"})
    assert "Retry with the present definition" in _page(operator.get(f"{LIST}{run_id}/change/"))
    page = _page(operator.post(f"{LIST}{run_id}/retry/", {"definition": "now"}, follow=True))
    assert "by the definition as it is now" in page
    job.refresh_from_db()
    assert Run.objects.get(trigger="retry").definition_id == job.definition_id


@pytest.mark.parametrize("verb", ["cancel", "retry"])
@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("", "The filter is empty"),
        ("?q=noo", "narrowed by a search"),
        ("?id__lt=5", "The filter is empty"),
        ("?params__isnull=1", "narrowed by a search"),
        ("?failed=open&state__exact=queued", "No run is in both"),
    ],
)
def test_what_is_no_filter_is_refused(
    verb: str, query: str, sentence: str, operator: Client, make_runs: Callable[..., list[Run]]
) -> None:
    make_runs()
    for response in (operator.get(f"{LIST}{verb}/{query}"), operator.post(f"{LIST}{verb}/{query}")):
        assert sentence in _page(response)
    assert list(Run.objects.values_list("state", flat=True)) == ["queued"]


@pytest.mark.parametrize("verb", ["cancel", "retry"])
def test_who_may_only_look_cannot_act_on_a_list(
    verb: str, transactional_db: None, make_runs: Callable[..., list[Run]]
) -> None:
    viewer = _signed_in("viewer", "view_run")
    make_runs()
    address = f"{LIST}{verb}/?queue=default"
    assert viewer.get(address).status_code == viewer.post(address).status_code == 403
    assert "all of these" not in _page(viewer.get(f"{LIST}?queue=default"))
    assert Run.objects.get().state == "queued"
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.create_superuser("root"))
    assert strict.post(address).status_code == 403


def test_typed_filters_keep_the_others_and_print_nothing_but_text(
    operator: Client, make_runs: Callable[..., list[Run]]
) -> None:
    make_runs()
    page = _page(operator.get(f"{LIST}?queue=default&reason={HOSTILE}&id__lt=99"))
    assert '<input type="hidden" name="queue" value="default">' in page
    assert page.count('<input type="hidden" name="id__lt"') == 1, "the search box is Django's own"
    assert HOSTILE not in page and "&lt;script&gt;alert(1)" in page


def test_the_page_of_a_run_is_the_receipt_of_its_cancel(
    operator: Client, make_runs: Callable[..., list[Run]], fail: Callable[..., int], session: Session
) -> None:
    run_id = make_runs()[0].pk
    claim = claim_next(session)[0]
    page = _page(operator.post(f"{LIST}{run_id}/cancel/", follow=True))
    assert page.count("the request is recorded; its worker slot-1 ends it when it hears of it") == 2
    assert "the run ends with its lease, at" in page
    ended = Settlement(
        run_id=run_id,
        attempt=claim.attempt,
        token=claim.token,
        after=State.CANCELLED,
        reason="cancelled on request",
        again_in_seconds=None,
        verdict="cancelled",
        killed=1,
        processes=[
            {"pid": 12, "name": "sleep", "ended": "signal 15 (SIGTERM)"},
            {"pid": 13, "name": HOSTILE, "ended": "signal 9 (SIGKILL)"},
        ],
    )
    claims.settle_and_claim(session, [ended], None, actor="slot-1")
    page = _page(operator.get(f"{LIST}{run_id}/change/"))
    for told in ("Cancel requested", "by operator", "signal 15 (SIGTERM)", "signal 9 (SIGKILL)", ">sleep<", ">12<"):
        assert told in page
    assert HOSTILE not in page
    assert "the request is recorded" not in page


def test_the_page_of_a_run_tells_its_limits_on_time(
    operator: Client, make_job: Callable[..., Job], make_runs: Callable[..., list[Run]]
) -> None:
    job = make_job("Soon", max_wait=timedelta(minutes=5), deadline=timedelta(hours=1))
    page = _page(operator.get(f"{LIST}{make_runs(job_id=job.pk)[0].pk}/change/"))
    for told in ("Given up unless begun by", "May wait", "5 min 0 s", "Deadline"):
        assert told in page
