"""What the preflight says of servers and rows that are really in the state it looks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from celery import current_app
from django.contrib.auth.models import User
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from kombu import Connection, Exchange, Queue
from rest_framework.test import APIClient

from jobs.conf import conf
from jobs.models import Job, Run, Schedule
from jobs.services import preflight
from jobs.services.preflight import Finding, Level, connections, hosts, postgres
from jobs.store import facts
from jobs.store.session import Session, django_connection
from tests.integration.api import signed_in
from tests.integration.conftest import claim_next


def found(check: str, about: str | None = None) -> list[Finding]:
    return [f for f in preflight.examine().findings if f.check == check and about in (None, f.about)]


def one(check: str) -> Finding:
    [finding] = found(check)
    return finding


@contextmanager
def sql(do: str, undo: str) -> Iterator[None]:
    """Change the test's database for a while. The connection is a new one then, as settings count from its start."""
    django_connection(do, {})
    connection.close()
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SET default_transaction_read_only = off")
            cursor.execute(undo)
        connection.close()


@pytest.fixture
def queue(broker_url: str, settings: Any) -> Iterator[str]:
    """A queue of our own, in the settings beside the usual one, and nowhere else."""
    name = f"doctor-{uuid4()}"
    settings.JOBSCHED = {**settings.JOBSCHED, "QUEUES": ("default", name)}
    conf.cache_clear()
    yield name
    conf.cache_clear()
    current_app.amqp.queues.pop(name, None)
    with Connection(broker_url) as broker:
        Queue(name, channel=broker).delete()


def test_a_sound_database_is_fine(transactional_db: None, broker_url: str) -> None:
    fine = {
        f.check for f in preflight.examine().findings if f.level is Level.FINE and f.about in ("postgresql", "beat")
    }
    assert {
        "version",
        "writable",
        "fsync",
        "full_page_writes",
        "synchronous_commit",
        "statement_timeout",
        "connections",
        "transactions",
        "migrations",
        "triggers",
        "dead_rows",
        "fires",
        "promotions",
        "leases",
    } <= fine


def test_the_triggers_it_looks_for_are_those_that_migrations_make(transactional_db: None) -> None:
    there = django_connection(
        "SELECT tgname, tgrelid::regclass::text FROM pg_trigger WHERE tgname LIKE 'jobs%%' AND NOT tgisinternal", {}
    )
    assert dict(there) == facts.TRIGGERS


def test_a_trigger_that_is_off_is_an_error(transactional_db: None, broker_url: str) -> None:
    with sql(
        "ALTER TABLE jobs_job DISABLE TRIGGER jobs_keep_definition",
        "ALTER TABLE jobs_job ENABLE TRIGGER jobs_keep_definition",
    ):
        finding = one("triggers")
    assert finding.level is Level.ERROR and "(jobs_keep_definition)" in finding.sentence


def test_a_migration_that_is_not_applied_is_an_error(transactional_db: None, broker_url: str) -> None:
    [(newest,)] = django_connection("SELECT max(name) FROM django_migrations WHERE app = 'jobs'", {})
    with sql(
        f"UPDATE django_migrations SET name = '9999_later' WHERE app = 'jobs' AND name = '{newest}'",
        f"UPDATE django_migrations SET name = '{newest}' WHERE app = 'jobs' AND name = '9999_later'",
    ):
        finding = one("migrations")
    assert finding.level is Level.ERROR and f"jobs.{newest}" in finding.sentence


def test_a_database_ahead_of_the_code_is_a_warning(transactional_db: None, broker_url: str) -> None:
    with sql(
        "INSERT INTO django_migrations (app, name, applied) VALUES ('jobs', '9999_later', now())",
        "DELETE FROM django_migrations WHERE name = '9999_later'",
    ):
        finding = one("migrations")
    assert finding.level is Level.WARNING and "9999_later" in finding.sentence


def test_tables_that_are_not_there_are_told_without_a_trace(transactional_db: None, broker_url: str) -> None:
    with sql("ALTER TABLE jobs_schedule RENAME TO away", "ALTER TABLE away RENAME TO jobs_schedule"):
        report = preflight.examine()
    refused = [f.sentence for f in report.findings if f.check == "readable"]
    assert not report.healthy and any('"jobs_schedule" does not exist' in sentence for sentence in refused)
    assert any(f.about == "rabbitmq" and f.check == "alarms" for f in report.findings)


@pytest.mark.parametrize(
    ("setting", "check"), [("synchronous_commit", "synchronous_commit"), ("default_transaction_read_only", "writable")]
)
def test_a_setting_of_the_database_that_breaks_a_promise_is_an_error(
    transactional_db: None, broker_url: str, setting: str, check: str
) -> None:
    name = connection.settings_dict["NAME"]
    bad = "on" if check == "writable" else "off"
    with sql(f'ALTER DATABASE "{name}" SET {setting} = {bad}', f'ALTER DATABASE "{name}" RESET {setting}'):
        finding = one(check)
        said = run_checks(databases=["default"])
    assert finding.level is Level.ERROR
    assert finding.sentence in {message.msg for message in said}


def test_missing_time_limits_are_warnings(transactional_db: None, broker_url: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
    try:
        finding = one("statement_timeout")
    finally:
        connection.close()
    assert finding.level is Level.WARNING and "JOBSCHED_STATEMENT_TIMEOUT_SECONDS" in finding.sentence


def test_a_transaction_that_stays_open_is_told_with_its_process(
    session: Session, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "LONG_TRANSACTION_SECONDS", 0.0)
    [(pid,)] = session("SELECT pg_backend_pid()", {})
    session("BEGIN", {})
    session("SELECT 1", {})
    finding = one("transactions")
    session("ROLLBACK", {})
    assert finding.level is Level.WARNING and f"process {pid}, jobsched, idle in transaction" in finding.sentence


def test_dead_rows_that_pile_up_are_a_warning(
    session: Session,
    other_session: Session,
    make_runs: Callable[..., list[Run]],
    broker_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(postgres, "MANY_DEAD_ROWS", 50)
    make_runs(30)
    # Who still sees the rows as they were keeps them from being removed.
    other_session("BEGIN ISOLATION LEVEL REPEATABLE READ", {})
    other_session("SELECT count(*) FROM jobs_run", {})
    for _ in range(5):
        session("UPDATE jobs_run SET reason = reason || 'x'", {})
    session("SELECT pg_stat_force_next_flush()", {})
    session("SELECT 1", {})
    [finding] = [f for f in found("dead_rows") if f.level is Level.WARNING]
    other_session("ROLLBACK", {})
    assert finding.sentence.startswith("jobs_run has ")


def test_too_few_connections_are_a_warning(
    transactional_db: None, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "SESSIONS_SHARE", 0.0)
    assert one("connections").level is Level.WARNING


def test_a_schedule_that_no_beat_fires_is_an_error(make_job: Callable[..., Job], broker_url: str) -> None:
    job = make_job()
    interval = IntervalSchedule.objects.create(every=1, period="hours")
    row = PeriodicTask.objects.create(name="Every", task="jobs.trigger", interval=interval)
    due = timezone.now() - timedelta(seconds=90)
    Schedule.objects.filter(pk=row.pk).update(job=job, next_fire_at=due, stale=False)
    finding = one("fires")
    assert finding.level is Level.ERROR and "due for 9" in finding.sentence and "no beat is running" in finding.sentence
    Schedule.objects.filter(pk=row.pk).update(paused=True)
    assert one("fires").level is Level.FINE


def test_a_lease_that_no_beat_reaps_is_an_error(
    session: Session, make_runs: Callable[..., list[Run]], broker_url: str
) -> None:
    make_runs()
    claim_next(session, lease_seconds=-90)
    finding = one("leases")
    assert finding.level is Level.ERROR and finding.sentence.startswith("1 running runs lost their worker")


def test_a_run_that_no_beat_promotes_is_an_error(make_runs: Callable[..., list[Run]], broker_url: str) -> None:
    [run] = make_runs(not_before=timezone.now() + timedelta(hours=1))
    assert one("promotions").level is Level.FINE
    Run.objects.filter(pk=run.pk).update(run_at=timezone.now() - timedelta(minutes=2))
    assert one("promotions").level is Level.ERROR


def about_queue(name: str) -> dict[str, Finding]:
    return {f.check: f for f in preflight.examine().findings if f.about == "queues" and f"'{name}'" in f.sentence}


def test_a_queue_without_a_worker_is_told_and_one_with_is_fine(
    make_job: Callable[..., Job], make_runs: Callable[..., list[Run]], broker_url: str, queue: str
) -> None:
    assert about_queue(queue)["consumers"].level is Level.WARNING
    job = make_job("Elsewhere", queue=queue)
    assert "which 1 jobs name" in about_queue(queue)["consumers"].sentence
    [run] = make_runs(job_id=job.pk)
    assert "and 1 runs wait in it" in about_queue(queue)["consumers"].sentence
    with Connection(broker_url) as broker:
        served = current_app.amqp.queues[queue](broker.channel())
        served.declare()
        with broker.Consumer(served, callbacks=[lambda body, message: message.ack()]):
            assert about_queue(queue)["consumers"].level is Level.FINE
    assert about_queue(queue)["waiting"].level is Level.FINE
    Run.objects.filter(pk=run.pk).update(run_at=timezone.now() - timedelta(minutes=10))
    assert about_queue(queue)["waiting"].level is Level.WARNING


def test_a_queue_that_the_settings_do_not_know_is_an_error(make_job: Callable[..., Job], broker_url: str) -> None:
    make_job("Elsewhere", queue="nowhere")
    finding = about_queue("nowhere")["unknown"]
    assert finding.level is Level.ERROR and "JOBSCHED_QUEUES" in finding.sentence


def test_a_queue_that_workers_could_not_declare_is_an_error(
    transactional_db: None, broker_url: str, queue: str
) -> None:
    with Connection(broker_url) as broker:
        Queue(queue, Exchange(queue), queue, queue_arguments={"x-max-priority": 5}, channel=broker).declare()
    finding = about_queue(queue)["declaration"]
    assert finding.level is Level.ERROR and "x-max-priority" in finding.sentence
    assert about_queue("default").get("declaration") is None


def test_asking_makes_no_queue(transactional_db: None, broker_url: str, queue: str) -> None:
    assert about_queue(queue)["consumers"].level is Level.WARNING
    with Connection(broker_url) as broker, pytest.raises(broker.channel_errors, match="NOT_FOUND"):
        Queue(queue, channel=broker).queue_declare(passive=True)


def test_a_clock_that_differs_is_a_warning(
    transactional_db: None, broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = hosts.time.time
    monkeypatch.setattr(hosts.time, "time", lambda: real() - 60)
    finding = one("clock")
    assert finding.level is Level.WARNING and "60.0 s behind" in finding.sentence


def test_a_full_disk_is_an_error(transactional_db: None, broker_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "NOTHING_BYTES", 2**62)
    finding = one("workspaces")
    assert finding.level is Level.ERROR and "as good as full" in finding.sentence


def test_the_consumer_timeout_is_not_made_up(transactional_db: None, broker_url: str) -> None:
    finding = one("consumer_timeout")
    assert finding.level is Level.UNKNOWN and "by default it is 30 minutes" in finding.sentence


def test_the_api_answers_staff_only(make_job: Callable[..., Job], broker_url: str) -> None:
    make_job("Elsewhere", queue="nowhere")
    told = signed_in().get("/api/v1/doctor")
    assert told.status_code == 200 and told.json()["healthy"] is False
    assert {"about", "check", "level", "sentence"} == set(told.json()["findings"][0])
    assert signed_in(User.objects.create_user("bob")).get("/api/v1/doctor").status_code == 403
    assert APIClient().get("/api/v1/doctor").status_code == 401


def test_the_static_checks_see_settings_that_keep_jobs_from_running(settings: Any, transactional_db: None) -> None:
    assert [m.id for m in run_checks() if str(m.id).startswith("jobs.")] == []
    settings.DATABASES["default"]["OPTIONS"]["pool"] = True
    before = {name: current_app.conf[name] for name in ("task_always_eager", "worker_pool", "beat_scheduler")}
    current_app.conf.update(
        task_always_eager=True, worker_pool="solo", accept_content=["json", "pickle"], beat_scheduler="other:Beat"
    )
    try:
        ids = {m.id for m in run_checks()}
    finally:
        current_app.conf.update(**before, accept_content=["json"])
        del settings.DATABASES["default"]["OPTIONS"]["pool"]
    assert {"jobs.E002", "jobs.E003", "jobs.W001", "jobs.E009", "jobs.I001"} <= ids


def test_the_command_ends_with_1_when_something_is_wrong(
    make_job: Callable[..., Job], broker_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make_job("Elsewhere", queue="nowhere")
    with pytest.raises(SystemExit) as ended:
        call_command("doctor")
    assert ended.value.code == 1
    said = capsys.readouterr().out
    assert "the queue 'nowhere'" in said and "It takes writes" not in said
    with pytest.raises(SystemExit):
        call_command("doctor", everything=True)
    assert "It takes writes" in capsys.readouterr().out


def test_jobs_whose_callable_or_task_cannot_be_run_any_more_are_named(make_job: Callable[..., Job]) -> None:
    assert one("work").level is Level.FINE
    for number in range(7):
        make_job(f"Stranger {number}", kind="python", spec={"call": "os:getenv"})
    make_job("Gone", kind="celery", spec={"task": "shop.gone"})
    make_job("Sound", kind="python", spec={"call": "tests.sample_callables:add"})
    strangers, gone = found("work")
    assert strangers.level is gone.level is Level.ERROR
    assert "Runs of 'Stranger 0', 'Stranger 1'" in strangers.sentence
    assert "'Stranger 4' and 2 more cannot be performed: 'os:getenv' is not allowed" in strangers.sentence
    assert gone.sentence.startswith("Runs of 'Gone' cannot be performed: there is no Celery task 'shop.gone'")


def test_workers_that_may_need_more_connections_than_are_allowed_are_a_warning(transactional_db: None) -> None:
    [finding] = connections.look({"one": {"slots": 60}, "two": {"slots": 60}})
    assert finding.level is Level.WARNING
    assert finding.sentence.startswith("2 workers with 120 slots may need 244 connections to PostgreSQL, others use ")
    assert "197 are allowed: slots that find none wait" in finding.sentence
    [finding] = connections.look({"one": {"slots": 4}})
    assert finding.level is Level.FINE
    assert finding.sentence.startswith("1 worker with 4 slots may need 10 connections to PostgreSQL, others use ")
    assert connections.look({"of an earlier version": {"missing": []}}) == []


def test_connections_of_workers_are_told_from_others_by_their_name(transactional_db: None, monkeypatch: Any) -> None:
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "application_name", "shop worker")
    before = facts.worker_sessions(django_connection)
    session = Session()
    session("SELECT 1", {})
    try:
        assert facts.worker_sessions(django_connection) == before + 1
    finally:
        session.close()
