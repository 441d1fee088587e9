"""Files of many jobs: all or nothing, in few statements, while others go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any

import psycopg
import pytest
from django.db import connection, connections, transaction
from django_celery_beat.models import CrontabSchedule, PeriodicTask
from rest_framework.test import APIClient

from jobs.models import Apply, Job, Project, StagedJob
from jobs.services import definitions, tidying
from jobs.services.definitions import applying, batch
from jobs.services.definitions.batch import Batch
from jobs.store import applies, publishing, staging
from jobs.store.session import django_connection
from jobsched.domain import manifest
from jobsched.domain.errors import Conflict, InvalidInput
from tests.integration.api import signed_in

pytestmark = pytest.mark.django_db(transaction=True)

MANY = 150
DEADLINE_SECONDS = 60


def written(count: int, *, extra: str = "", schedule: str = "0 3 * * *", length: int = 0) -> str:
    """Return a file of jobs. Those of `length` are so long that the server applies it in the background."""
    about = "x" * length
    jobs = "".join(
        f"  - {{name: job-{n}, run: 'true', description: '{about}', schedule: '{schedule}'{extra}}}\n"
        for n in range(count)
    )
    return f"jobs:\n{jobs}"


LARGE = written(MANY, length=450)


@pytest.fixture
def api(transactional_db: None) -> APIClient:
    assert len(LARGE) > applying.AT_ONCE_BYTES
    return signed_in()


@pytest.fixture
def other(transactional_db: None) -> Iterator[psycopg.Connection[Any]]:
    """A connection of somebody else, whose transaction is open until the test ends it."""
    wanted = connection.get_connection_params()
    for ours in ("cursor_factory", "context", "prepare_threshold"):
        wanted.pop(ours, None)
    with psycopg.connect(**wanted) as opened:
        yield opened
        opened.rollback()


def staged(text: str) -> Batch:
    file = manifest.parse(text, filename="jobs.yaml")
    made = Batch(id=staging.new_batch(django_connection), project=file.project, specs=file.jobs)
    made.stage()
    made.compare_and_check()
    return made


def apply(text: str) -> set[str]:
    return {str(one.result) for one in definitions.apply(text, filename="jobs.yaml", actor="ada")}


def posted(api: APIClient, text: str, **headers: str) -> tuple[int, Any]:
    answer = api.post("/api/v1/apply", {"source": text, "filename": "jobs.yaml"}, format="json", headers=headers)
    return answer.status_code, answer.json()


def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < give_up, "it took too long"
        time.sleep(0.05)


def ended(api: APIClient, id: int) -> dict[str, Any]:
    state: dict[str, Any] = {}

    def has_ended() -> bool:
        state.update(api.get(f"/api/v1/applies/{id}").json())
        return state["state"] != "checking"

    until(has_ended)
    return state


@pytest.mark.parametrize("change", ["new", "unchanged", "changed", "moved", "unscheduled"])
def test_the_statements_of_a_publication_do_not_grow_with_the_file(
    change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts: dict[str, Callable[[int], str]] = {
        "new": written,
        "unchanged": written,
        "changed": lambda count: written(count, extra=", priority: 9"),
        "moved": lambda count: written(count, schedule="0 4 * * *"),
        "unscheduled": lambda count: written(count).replace(", schedule: '0 3 * * *'", ""),
    }
    counts: list[int] = []
    for count in (3, MANY):
        Job.objects.update(archived_at="2026-01-01T00:00:00Z")
        PeriodicTask.objects.all().delete()
        if change != "new":
            apply(written(count))
        made = staged(texts[change](count))
        counted: list[str] = []

        def count_it(sql: str, params: Any, counted: list[str] = counted) -> Any:
            counted.append(sql)
            return django_connection(sql, params)

        with monkeypatch.context() as patch, transaction.atomic():
            patch.setattr(batch, "django_connection", count_it)
            results = made.publish(actor="ada")
        assert len(results) == count
        counts.append(len(counted))
    assert counts[0] == counts[1] <= 35


def test_the_rows_that_are_read_for_a_job_do_not_grow_with_the_file() -> None:
    hours = ("3", "4") * 4
    for hour in hours:  # after five times, PostgreSQL may keep the plan of a prepared statement
        apply(written(3, schedule=f"0 {hour} * * *"))
    django_connection("ANALYZE jobs_stagedjob, jobs_job, jobs_schedule, django_celery_beat_periodictask", {})
    large = written(MANY)
    moved, unscheduled = large.replace("0 3", "0 4"), large.replace(", schedule: '0 3 * * *'", "")
    for text in (large, large, written(MANY, extra=", priority: 9"), moved, unscheduled):
        with transaction.atomic():
            before = _rows_read()
            apply(text)
            read = {table: (rows - before[table]) / MANY for table, rows in _rows_read().items()}
        assert {table: rows for table, rows in read.items() if rows > 30} == {}


def _rows_read() -> dict[str, int]:
    """Return how many rows this transaction has read of each table, of those that triggers on schedules do not read."""
    return dict(
        django_connection(
            """
            SELECT relname, coalesce(idx_tup_fetch, 0) + seq_tup_read FROM pg_stat_xact_user_tables
            WHERE relname IN ('jobs_stagedjob', 'jobs_job', 'jobs_project')
            """,
            {},
        )
    )


def test_a_publication_holds_up_nobody_who_works_on_other_jobs(other: psycopg.Connection[Any]) -> None:
    apply("jobs: [{name: other, run: 'true', schedule: '0 3 * * *'}]")
    made = staged(written(50))
    with transaction.atomic():
        made.publish(actor="ada")
        for statement in (
            "SELECT FROM jobs_project WHERE name = 'default' FOR NO KEY UPDATE NOWAIT",
            "SELECT FROM django_celery_beat_periodictasks FOR UPDATE NOWAIT",
            "SELECT FROM django_celery_beat_crontabschedule FOR SHARE NOWAIT",
            "SELECT FROM jobs_job WHERE name = 'other' FOR UPDATE NOWAIT",
            "SELECT FROM jobs_schedule FOR UPDATE NOWAIT",
            "UPDATE jobs_job SET priority = 9 WHERE name = 'other'",
        ):
            other.execute(statement)
        other.commit()
    assert Job.objects.count() == 51 and CrontabSchedule.objects.filter(hour="3").count() == 1


def test_a_large_file_is_applied_in_the_background_and_its_jobs_are_answered_in_order(api: APIClient) -> None:
    status, accepted = posted(api, LARGE)
    assert (status, accepted["state"]) == (202, "checking")
    state = ended(api, accepted["id"])
    assert (state["state"], state["total"], state["checked"]) == ("applied", MANY, MANY)
    assert [job["name"] for job in state["jobs"]] == [f"job-{n}" for n in range(MANY)]
    assert {job["result"] for job in state["jobs"]} == {"created"}
    assert Job.objects.count() == PeriodicTask.objects.count() == MANY
    assert not StagedJob.objects.exists() and Apply.objects.get().source == ""

    again = ended(api, posted(api, LARGE)[1]["id"])
    assert {job["result"] for job in again["jobs"]} == {"unchanged"}


def test_a_large_file_with_bad_jobs_is_refused_with_the_first_twenty_problems(api: APIClient) -> None:
    bad = LARGE.replace(", schedule", ", queue: nobody, schedule")
    state = ended(api, posted(api, bad)[1]["id"])
    assert (state["state"], state["status"]) == ("refused", 400)
    lines = state["error"].splitlines()
    assert len(lines) == 21 and lines[-1] == f"… and {MANY - 20} more problems"
    assert lines[0].startswith("jobs.yaml, job 'job-0', key 'queue': no worker serves the queue 'nobody'")
    assert not Job.objects.exists() and not StagedJob.objects.exists()


def test_schedules_of_a_large_file_that_are_never_due_are_all_named(api: APIClient) -> None:
    never = LARGE.replace("schedule: '0 3 * * *'", "schedule: '1h', end: '2020-01-01 00:00'")
    state = ended(api, posted(api, never)[1]["id"])
    assert state["state"] == "refused" and len(state["error"].splitlines()) == 21
    assert not Job.objects.exists()


def test_the_same_key_is_the_same_request(api: APIClient) -> None:
    key = {"Idempotency-Key": "mine"}
    status, first = posted(api, LARGE, **key)
    assert status == 202
    ended(api, first["id"])
    status, again = posted(api, LARGE, **key)
    assert (status, {job["result"] for job in again["jobs"]}) == (200, {"created"})
    status, other_file = posted(api, written(1), **key)
    assert status == 409 and "belongs to another file" in other_file["error"]
    assert Apply.objects.count() == 1


def test_a_refusal_is_the_same_when_it_is_asked_for_again(api: APIClient) -> None:
    bad = written(1, extra=", queue: nobody")
    answers = [posted(api, bad, **{"Idempotency-Key": "bad"}) for _ in range(2)]
    assert answers[0] == answers[1] and answers[0][0] == 400


def test_a_file_is_shown_to_nobody_but_its_sender(api: APIClient, django_user_model: Any) -> None:
    id = posted(api, LARGE)[1]["id"]
    ended(api, id)
    others = signed_in(django_user_model.objects.create_superuser("bob"))
    assert others.get(f"/api/v1/applies/{id}").status_code == 404
    assert others.delete(f"/api/v1/applies/{id}").status_code == 404


def test_what_is_cancelled_before_its_publication_is_not_applied(
    api: APIClient, other: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "PATIENCE", {"lock_timeout": "60s"})
    apply(written(1))
    other.execute("SELECT FROM jobs_job FOR UPDATE")  # so that the publication waits
    id = posted(api, LARGE)[1]["id"]
    until(lambda: Apply.objects.filter(pk=id, checked=MANY).exists())

    answer = api.delete(f"/api/v1/applies/{id}")
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    other.rollback()

    until(lambda: not StagedJob.objects.exists())
    assert Job.objects.count() == 1
    assert api.delete(f"/api/v1/applies/{id}").status_code == 409


def test_a_short_file_that_is_cancelled_while_it_is_applied_is_not_applied(
    api: APIClient, other: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "PATIENCE", {"lock_timeout": "60s"})
    apply(written(1))
    other.execute("SELECT FROM jobs_job FOR UPDATE")  # so that the publication waits
    answers: list[tuple[int, Any]] = []

    def work() -> None:
        try:
            answers.append(posted(signed_in(), written(2)))
        finally:
            connections.close_all()

    thread = Thread(target=work)
    thread.start()
    until(_somebody_waits)
    [id] = Apply.objects.values_list("pk", flat=True)
    assert api.delete(f"/api/v1/applies/{id}").json()["state"] == "cancelled"
    other.rollback()
    thread.join(DEADLINE_SECONDS)

    [(status, answer)] = answers
    assert status == 409 and "cancelled" in answer["error"]
    assert Job.objects.count() == 1


def test_a_file_that_waits_for_others_holds_no_connection(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(applying, "_TOUCH_SECONDS", 0.01)
    long_ago = "2026-01-01T00:00:00Z"
    batch_id = staging.new_batch(django_connection)
    applies.create(django_connection, batch=batch_id, actor="ann", key=None, filename="f", source="s", digest="")
    Apply.objects.update(touched_at=long_ago)
    before = _sessions()
    with applying._touched(batch_id):
        until(lambda: not Apply.objects.filter(touched_at=long_ago).exists())
        monkeypatch.setattr(applying, "_TOUCH_SECONDS", 600)
        until(lambda: _sessions() == before)


def _sessions() -> int:
    [(count,)] = django_connection(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'",
        {},
    )
    return int(count)


def test_a_request_whose_process_died_is_begun_again_by_whoever_is_asked(api: APIClient) -> None:
    abandoned = staging.new_batch(django_connection)
    id = applies.create(
        django_connection, batch=abandoned, actor="ann", key=None, filename="f", source=LARGE, digest=""
    )
    assert id is not None
    file = manifest.parse(LARGE, filename="f")
    Batch(id=abandoned, project="default", specs=file.jobs[:7]).stage()  # as far as it came
    Apply.objects.update(touched_at="2026-01-01T00:00:00Z")

    assert ended(api, id)["state"] == "applied"
    assert Job.objects.count() == MANY and not StagedJob.objects.exists()


def test_a_file_that_kills_its_process_each_time_is_given_up(api: APIClient) -> None:
    batch_id = staging.new_batch(django_connection)
    id = applies.create(django_connection, batch=batch_id, actor="ann", key=None, filename="f", source=LARGE, digest="")
    Apply.objects.update(touched_at="2026-01-01T00:00:00Z", attempts=3)
    state = api.get(f"/api/v1/applies/{id}").json()
    assert state["state"] == "refused" and "interrupted 3 times" in state["error"]


def test_the_former_attempt_at_a_request_cannot_publish_any_more() -> None:
    former, later = (staging.new_batch(django_connection) for _ in range(2))
    id = applies.create(django_connection, batch=former, actor="ann", key=None, filename="f", source="s", digest="")
    assert id is not None
    assert applies.take_over(django_connection, id, former=former, batch=later)
    assert not applies.finish(django_connection, former, project="default", results=[])
    assert not applies.take_over(django_connection, id, former=former, batch=former)


def test_a_job_that_somebody_else_is_changing_is_one_clear_conflict(
    api: APIClient, other: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "PATIENCE", {"lock_timeout": "100ms"})
    apply(written(2))
    other.execute("SELECT FROM jobs_job WHERE name = 'job-1' FOR UPDATE")
    status, answer = posted(api, written(2, extra=", priority: 9"))
    assert status == 409
    assert answer["error"].startswith("Another request is changing some of the same jobs")
    assert set(Job.objects.values_list("priority", flat=True)) == {5}


def test_a_job_that_somebody_else_makes_at_the_same_moment_is_then_changed(other: psycopg.Connection[Any]) -> None:
    Project.objects.get_or_create(name="default")
    other.execute(
        "INSERT INTO jobs_job (project_id, name, description, kind, spec, queue, priority, timeout, grace, retries, "
        "on_lost, env, params, in_process, paused) SELECT id, 'job-1', 'theirs', 'shell', '{}', 'default', 5, "
        "'1 hour', '10 s', '{}', 'retry', '{}', '{}', false, false FROM jobs_project WHERE name = 'default'"
    )
    found: list[set[str]] = []

    def work() -> None:
        try:
            found.append(apply(written(3)))
        finally:
            connections.close_all()

    thread = Thread(target=work)
    thread.start()
    until(_somebody_waits)
    other.commit()
    thread.join(DEADLINE_SECONDS)

    assert found == [{"created", "updated"}]
    assert Job.objects.get(name="job-1").description == ""


def _somebody_waits() -> bool:
    [(waiting,)] = django_connection(
        "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.datname = current_database() WHERE NOT l.granted", {}
    )
    return bool(waiting)


def test_what_was_left_behind_is_deleted(api: APIClient) -> None:
    ended(api, posted(api, LARGE)[1]["id"])
    Batch(
        id=staging.new_batch(django_connection), project="default", specs=manifest.parse(LARGE, filename="f").jobs
    ).stage()
    tidying.tidy()
    assert not StagedJob.objects.exists() and Apply.objects.count() == 1
    Apply.objects.update(finished_at="2026-01-01T00:00:00Z")
    abandoned = staging.new_batch(django_connection)
    applies.create(django_connection, batch=abandoned, actor="ann", key=None, filename="f", source="s", digest="")
    Apply.objects.filter(batch=abandoned).update(touched_at="2026-01-01T00:00:00Z")
    tidying.tidy()
    assert [one.state for one in Apply.objects.all()] == ["refused"]


def test_a_wrong_key_is_refused(api: APIClient) -> None:
    status, answer = posted(api, written(1), **{"Idempotency-Key": "x" * 201})
    assert status == 400 and "Idempotency-Key" in answer["error"]


def test_code_gets_the_same_errors_as_clients() -> None:
    request = definitions.request(written(1, extra=", queue: nobody"), filename="f", actor="ada")
    with pytest.raises(InvalidInput, match="nobody"):
        definitions.outcome(request)
    made = definitions.request(written(1), filename="f", actor="ada")
    with pytest.raises(Conflict, match="already"):
        definitions.cancel(made.id, actor="ada")
