"""Runs in the admin: to read, to cancel, to retry, and never to edit."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from jobs.models import Job, Run
from jobs.services import control
from jobs.store import claims
from jobs.store.claims import Settlement
from jobs.store.session import Session
from jobsched.domain.states import State
from tests.integration.conftest import claim_next

HOSTILE = "<script>document.title='owned'</script>\x1b[31m& \x07 done\n"
LIST = "/admin/jobs/run/"


@pytest.fixture
def viewer(transactional_db: None) -> Client:
    """Staff who may look at runs, and no more."""
    return _signed_in("viewer", "view_run")


@pytest.fixture
def operator(transactional_db: None) -> Client:
    return _signed_in("operator", "view_run", "change_run")


def _signed_in(name: str, *codenames: str) -> Client:
    user = User.objects.create_user(name, password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def finish(session: Session) -> Callable[..., int]:
    """Perform the next run of the queue as a worker slot would record it; return its id."""

    def do(after: State = State.SUCCEEDED, **fields: Any) -> int:
        claim = claim_next(session)[0]
        ended = Settlement(
            **{
                "run_id": claim.run_id,
                "attempt": claim.attempt,
                "token": claim.token,
                "after": after,
                "reason": "",
                "again_in_seconds": None,
                "verdict": str(after),
                **fields,
            }
        )
        assert claims.settle_and_claim(session, [ended], None, actor="slot-1").recorded == {claim.run_id: after}
        return claim.run_id

    return do


def _texts(response: Any) -> str:
    return str(response.content.decode())


def test_the_list_neither_counts_nor_asks_per_row(admin_client: Client, make_runs: Callable[..., list[Run]]) -> None:
    make_runs(3)
    admin_client.get(LIST)
    with CaptureQueriesContext(
        connection,
    ) as few:
        admin_client.get(LIST)
    make_runs(60)
    with CaptureQueriesContext(connection) as many:
        page = _texts(admin_client.get(LIST))
    assert len(many) == len(few)
    assert not [q["sql"] for q in many if "COUNT(" in q["sql"].upper() and "jobs_run" in q["sql"]]
    assert "Older runs" in page and "state-queued" in page


def test_older_runs_are_a_page_further(admin_client: Client, make_runs: Callable[..., list[Run]]) -> None:
    ids = sorted((run.pk for run in make_runs(120)), reverse=True)
    seen: list[int] = []
    query: str | None = ""
    while query is not None:
        changelist = admin_client.get(LIST + query).context["cl"]
        seen += [run.pk for run in changelist.result_list]
        query = changelist.older_than
    assert seen == ids
    assert len(seen) == 120


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", 2),
        ("?state__exact=queued", 1),
        ("?state__exact=failed", 0),
        ("?trigger__exact=request", 2),
        ("?trigger__exact=backfill", 0),
        ("?queue=default", 2),
        ("?queue=elsewhere", 0),
        ("?project=default", 2),
        ("?project=other", 0),
        ("?job={job}", 2),
        ("?job=0", 0),
        ("?q=noo", 2),
        ("?q=%23{run}", 1),
        ("?q=nothing", 0),
    ],
)
def test_runs_are_found_by_what_they_are(
    query: str, found: int, admin_client: Client, make_runs: Callable[..., list[Run]], finish: Callable[..., int]
) -> None:
    first, _ = make_runs(2)
    finish()
    response = admin_client.get(LIST + query.format(job=first.job_id, run=first.pk))
    assert response.status_code == 200
    assert response.context["cl"].result_count == found


def test_the_page_of_a_run_tells_its_story(
    admin_client: Client, make_runs: Callable[..., list[Run]], finish: Callable[..., int]
) -> None:
    make_runs(params={"customer": 7})
    run_id = finish(
        State.FAILED,
        reason="exit code 3",
        attempt_reason="exit code 3",
        exit_code=3,
        warning="1 process was still running: <b>",
        result={"words": 12},
        output="one\ntwo\n",
        output_total=8,
        sections=[
            {"name": "Build", "verdict": "succeeded", "exit_code": 0, "duration_seconds": 1.5, "output": "one\n"},
            {
                "name": "Test",
                "verdict": "failed",
                "exit_code": 137,
                "signal": 9,
                "duration_seconds": 2,
                "output": "two\n",
            },
            {"name": "Ship", "verdict": None, "exit_code": None, "duration_seconds": None, "output": ""},
        ],
        killed=2,
    )
    page = _texts(admin_client.get(f"{LIST}{run_id}/change/"))
    for told in (
        f"Run #{run_id}",
        "js-state-failed",
        "exit code 3",
        "&quot;words&quot;: 12",
        "&quot;customer&quot;: 7",
        "Build",
        "1.5 s",
        "not run",
        "<strong>Warning:</strong> 1 process was still running: &lt;b&gt;.",
        "exit code 137, signal 9 (SIGKILL)",
        "2 processes had to be killed",
        "version 1",
        "slot-1",
    ):
        assert told in page
    badge = '<span class="js-badge js-warning" title="1 process was still running: &lt;b&gt;">warning</span>'
    assert badge in _texts(admin_client.get(LIST))


def test_a_run_that_waits_for_its_turn_says_so(admin_client: Client, make_job: Callable[..., Job]) -> None:
    make_job("Limited", overlap="queue", concurrency_key="<b>{customer}", params={"customer": 7})
    control.trigger(job="Limited", actor="ada")
    waiting = control.trigger(job="Limited", actor="ada")
    page = _texts(admin_client.get(f"{LIST}{waiting.pk}/change/"))
    assert "waits for its turn under the limits of its job" in page
    assert "waits for its job&#x27;s limits" in page
    assert "&lt;b&gt;7" in page and "<b>7" not in page


def test_a_skipped_run_tells_how_many_instants_it_stands_for(
    admin_client: Client, make_runs: Callable[..., list[Run]]
) -> None:
    first = datetime(2026, 1, 1, 3, tzinfo=UTC)
    [one] = make_runs(scheduled_for=first, skip_reason="missed", skipped_until=first, skipped_count=1)
    page = _texts(admin_client.get(f"{LIST}{one.pk}/change/"))
    assert "missed" in page and "Stands for" not in page
    until = first + timedelta(hours=23)
    [many] = make_runs(scheduled_for=first, skip_reason="missed", skipped_until=until, skipped_count=24)
    page = _texts(admin_client.get(f"{LIST}{many.pk}/change/"))
    assert "24 instants, up to" in page and f'datetime="{until.isoformat()}"' in page
    assert "and 23 more" in _texts(admin_client.get(LIST))


def test_hostile_output_is_text_on_the_page(
    admin_client: Client, make_runs: Callable[..., list[Run]], finish: Callable[..., int]
) -> None:
    make_runs()
    sections = [{"name": HOSTILE, "verdict": "failed", "exit_code": 1, "duration_seconds": 1, "output": HOSTILE}]
    run_id = finish(
        State.FAILED,
        output=HOSTILE,
        output_total=len(HOSTILE),
        reason=HOSTILE,
        attempt_reason=HOSTILE,
        error=HOSTILE,
        result={HOSTILE: HOSTILE},
        sections=sections,
    )
    for address in (LIST, f"{LIST}{run_id}/change/"):
        page = _texts(admin_client.get(address))
        assert "<script>document" not in page
        assert "&lt;script&gt;document" in page
        assert "\x1b" not in page and "\x07" not in page


def test_output_is_downloaded_as_text_and_nothing_else(
    admin_client: Client, make_runs: Callable[..., list[Run]], finish: Callable[..., int]
) -> None:
    make_runs()
    long = HOSTILE * 5000
    run_id = finish(output=long, output_total=len(long))
    response = admin_client.get(f"{LIST}{run_id}/attempts/1/output.txt")
    assert b"".join(response).decode() == long
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Content-Disposition"].startswith("attachment;")
    missing = admin_client.get(f"{LIST}{run_id}/attempts/2/output.txt")
    assert missing.status_code == 404
    assert missing["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize("path", ["add/", "{run}/delete/"])
def test_nobody_adds_or_deletes_runs(path: str, admin_client: Client, make_runs: Callable[..., list[Run]]) -> None:
    address = LIST + path.format(run=make_runs()[0].pk)
    assert admin_client.get(address).status_code == 403
    assert admin_client.post(address, {"post": "yes"}).status_code == 403
    assert Run.objects.count() == 1


def test_nobody_edits_a_run(admin_client: Client, make_runs: Callable[..., list[Run]]) -> None:
    run = make_runs()[0]
    response = admin_client.post(f"{LIST}{run.pk}/change/", {"state": "succeeded", "priority": "9"})
    assert response.status_code == 405
    admin_client.post(LIST, {"action": "delete_selected", "_selected_action": run.pk, "post": "yes"})
    run.refresh_from_db()
    assert (run.state, run.priority) == ("queued", 5)


@pytest.mark.parametrize("verb", ["cancel", "retry"])
def test_looking_at_a_verb_changes_nothing(
    verb: str, admin_client: Client, make_runs: Callable[..., list[Run]]
) -> None:
    run = make_runs()[0]
    assert admin_client.get(reverse(f"admin:jobs_run_{verb}", args=[run.pk])).status_code == 405
    run.refresh_from_db()
    assert run.state == State.QUEUED
    assert Run.objects.count() == 1


@pytest.mark.parametrize("verb", ["cancel", "retry"])
def test_verbs_want_the_csrf_token(verb: str, admin_user: User, make_runs: Callable[..., list[Run]]) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(admin_user)
    assert strict.post(reverse(f"admin:jobs_run_{verb}", args=[make_runs()[0].pk])).status_code == 403


def test_cancel_ends_a_waiting_run(operator: Client, make_runs: Callable[..., list[Run]]) -> None:
    run = make_runs()[0]
    assert "Cancel run" in _texts(operator.get(f"{LIST}{run.pk}/change/"))
    page = _texts(operator.post(reverse("admin:jobs_run_cancel", args=[run.pk]), follow=True))
    run.refresh_from_db()
    assert run.state == State.CANCELLED
    assert f"Run #{run.pk} was cancelled before it began." in page
    assert run.cancel_requested_by == "operator"


def test_cancel_of_an_ended_run_says_so(
    operator: Client, make_runs: Callable[..., list[Run]], finish: Callable[..., int]
) -> None:
    make_runs()
    run_id = finish()
    page = _texts(operator.post(reverse("admin:jobs_run_cancel", args=[run_id]), follow=True))
    assert f"Run {run_id} has already ended" in page


def test_retry_requests_a_new_run(
    operator: Client, make_runs: Callable[..., list[Run]], finish: Callable[..., int]
) -> None:
    make_runs()
    run_id = finish(State.FAILED)
    page = _texts(operator.post(reverse("admin:jobs_run_retry", args=[run_id]), follow=True))
    again = Run.objects.exclude(pk=run_id).get()
    assert (again.trigger, again.requested_by) == ("retry", "operator")
    assert f"Run #{again.pk} was requested" in page


def test_actions_work_on_what_was_chosen(
    operator: Client, make_runs: Callable[..., list[Run]], finish: Callable[..., int]
) -> None:
    ended = make_runs()[0].pk
    finish()
    waiting, other = (run.pk for run in make_runs(2))
    chosen = {"action": "cancel_runs", "_selected_action": [ended, waiting]}
    page = _texts(operator.post(LIST, chosen, follow=True))
    assert "Of 2 selected, 1 were cancelled, 0 running were asked to end, and 1 had ended before." in page
    assert control.run(waiting).state == State.CANCELLED
    assert control.run(other).state == State.QUEUED
    page = _texts(operator.post(LIST, {"action": "retry_runs", "_selected_action": [ended, waiting]}, follow=True))
    assert "2 new runs requested." in page
    assert Run.objects.count() == 5


def test_staff_who_may_only_look_see_no_verb_and_are_refused(
    viewer: Client, make_runs: Callable[..., list[Run]], finish: Callable[..., int]
) -> None:
    ended = make_runs()[0].pk
    finish()
    waiting = make_runs()[0].pk
    page = _texts(viewer.get(LIST))
    assert f"#{waiting}" in page
    assert 'name="action"' not in page
    for run_id in (waiting, ended):
        page = _texts(viewer.get(f"{LIST}{run_id}/change/"))
        assert "Cancel run" not in page and "Retry run" not in page
    assert viewer.post(LIST, {"action": "cancel_runs", "_selected_action": waiting}).status_code == 403
    assert viewer.post(reverse("admin:jobs_run_cancel", args=[waiting])).status_code == 403
    assert viewer.post(reverse("admin:jobs_run_retry", args=[ended])).status_code == 403
    assert control.run(waiting).state == State.QUEUED
    assert Run.objects.count() == 2


def test_staff_without_permission_see_no_run(
    transactional_db: None, make_runs: Callable[..., list[Run]], job: Job
) -> None:
    stranger = _signed_in("stranger")
    run = make_runs()[0]
    for address in (LIST, f"{LIST}{run.pk}/change/", f"{LIST}{run.pk}/attempts/1/output.txt"):
        assert stranger.get(address).status_code == 403
