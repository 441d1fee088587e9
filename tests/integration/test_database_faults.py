"""Databases that are slow, gone, silent, full or read-only, as web, beats and workers meet them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from django.db import connection

from config.database import Patience, database
from jobs.models import Attempt, Run
from jobs.services import running
from jobs.services.running.slot import SlotProcess
from jobs.store import claims
from jobs.store.session import Refused, Session, django_connection
from jobsched.domain.errors import Unavailable
from tests.chaos.proxies import Proxy
from tests.integration.conftest import claim_next

# Far above every limit that is set here, far below those of the kernel: what takes longer hangs.
pytestmark = pytest.mark.timeout(60, func_only=True)

PATIENCE = Patience(statement=1.0, idle_in_transaction=1.0, acknowledgement=2.0, connect=2.0)
PROJECT = Path(__file__).parents[2]


def database_url() -> str:
    """The address of the test's own database."""
    url = urlsplit(os.environ["JOBSCHED_DATABASE_URL"])
    return url._replace(path=f"/{connection.settings_dict['NAME']}").geturl()


@pytest.fixture
def point_at(transactional_db: None) -> Iterator[Callable[[str], None]]:
    """Make new connections of this process, Django's and sessions', go to another address with short time limits."""
    before = connection.settings_dict

    def point(url: str) -> None:
        connection.close()
        connection.settings_dict = before | database(url, patience=PATIENCE, own_sessions=True, migrating=False)

    yield point
    connection.close()
    connection.settings_dict = before


@pytest.fixture
def wire(transactional_db: None) -> Iterator[Proxy]:
    with Proxy(database_url()) as proxy:
        yield proxy


def test_a_statement_that_takes_too_long_is_ended_and_the_slot_goes_on(point_at: Callable[[str], None]) -> None:
    point_at(database_url())
    with closing(Session()) as session:
        with pytest.raises(Unavailable, match="statement timeout"):
            session("SELECT pg_sleep(600)", {})
        assert session("SELECT 1", {}) == [(1,)]


def test_who_stands_still_in_a_transaction_lets_go_of_its_rows(
    point_at: Callable[[str], None], make_runs: Callable[..., list[Run]]
) -> None:
    [run] = make_runs(1)
    options = database(database_url(), patience=PATIENCE, own_sessions=True, migrating=False)["OPTIONS"]["options"]
    with psycopg.connect(database_url(), options=options) as frozen:
        frozen.execute("SELECT FROM jobs_run WHERE id = %s FOR UPDATE", [run.pk])
        with psycopg.connect(database_url(), options="-c lock_timeout=20s") as other:
            other.execute("SELECT FROM jobs_run WHERE id = %s FOR UPDATE", [run.pk])
        with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
            frozen.execute("SELECT 1")
        frozen.close()


@pytest.mark.parametrize("reconnects", [False, True])
def test_a_database_that_says_nothing_is_given_up_and_found_again(
    point_at: Callable[[str], None], wire: Proxy, reconnects: bool
) -> None:
    point_at(wire.url)
    with closing(Session()) as session:
        assert session("SELECT 1", {}) == [(1,)]
        wire.silence()
        if reconnects:
            session.close()
        with pytest.raises(Unavailable):
            session("SELECT 2", {})
        wire.mend()
        assert session("SELECT 3", {}) == [(3,)]


def test_a_value_that_is_nested_too_deep_is_refused_and_the_database_does_not_count_as_away(session: Session) -> None:
    with pytest.raises(Refused, match="stack depth"):
        session("SELECT %(value)s::jsonb", {"value": "[" * 100_000 + "]" * 100_000})
    assert session("SELECT 1", {}) == [(1,)]


def test_a_session_that_became_read_only_is_given_up(session: Session, make_runs: Callable[..., list[Run]]) -> None:
    """What a slot sees whose primary was made a replica beneath it: it must connect anew, not fail for good."""
    [run] = make_runs(1)
    session("SET default_transaction_read_only = on", {})
    with pytest.raises(Unavailable, match="read-only"):
        claim_next(session)
    assert [claim.run_id for claim in claim_next(session)] == [run.pk]


def test_migrations_are_not_ended_by_the_time_limit(process_env: Mapping[str, str], transactional_db: None) -> None:
    """With a limit that no statement can keep, everything else fails."""
    limits = {"JOBSCHED_STATEMENT_TIMEOUT_SECONDS": "0.001"}

    def manage(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *words],
            env={**process_env, **limits},
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    sleep = "from django.db import connection; connection.cursor().execute('SELECT pg_sleep(0.1)')"
    assert "statement timeout" in manage("shell", "-c", sleep).stderr
    assert manage("migrate", "jobs", "0003", "--noinput").returncode == 0
    done = manage("migrate", "--noinput")
    assert done.returncode == 0, done.stderr


def test_a_migration_that_changes_what_a_prepared_statement_returns_stops_nobody(
    transactional_db: None,
) -> None:
    statement = "SELECT name FROM jobs_prepared_probe"
    with connection.cursor() as cursor, closing(Session()) as session:
        cursor.execute("CREATE TABLE jobs_prepared_probe (name varchar(5))")
        try:
            for _ in range(4):
                assert session(statement, {}) == django_connection(statement, {}) == []
            cursor.execute("ALTER TABLE jobs_prepared_probe ALTER name TYPE varchar(9)")
            assert session(statement, {}) == []
            assert django_connection(statement, {}) == []
            assert django_connection(statement, {}) == []
        finally:
            with connection.cursor() as again:
                again.execute("DROP TABLE jobs_prepared_probe")


def test_what_django_sends_is_not_kept(transactional_db: None) -> None:
    django_connection("SELECT 1", {})
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s", ["x" * 1000])
    kept = [statement for (statement,) in django_connection("SELECT statement FROM pg_prepared_statements", {})]
    assert kept
    assert not any("x" * 1000 in str(key) for key in connection.connection._prepared._counts)


def test_a_slot_that_could_not_connect_is_free_at_once(point_at: Callable[[str], None], wire: Proxy) -> None:
    """Nothing was sent, so nothing can have been claimed that it would have to look for."""
    point_at(wire.url)
    wire.cut()
    slot = SlotProcess(hostname="test")
    assert slot.record([], claim_from="default") == []


@pytest.mark.usefixtures("own_slot")
def test_a_run_whose_definition_could_not_be_read_is_handed_back(
    make_runs: Callable[..., list[Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database was lost right after the claim."""
    [run] = make_runs(1)
    read, failures = claims.definition, [Unavailable("gone")]

    def definition(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return read(*arguments)

    monkeypatch.setattr(claims, "definition", definition)
    running.work("default", hostname="test")
    running.work("default", hostname="test")

    attempts = Attempt.objects.filter(run=run).order_by("number")
    assert [attempt.verdict for attempt in attempts] == ["handed_back", "succeeded"]
    assert "could not be read" in attempts[0].reason
