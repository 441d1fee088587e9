"""Databases that cannot hold every character: refused by every way in, and no run is repeated where one is in use."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models.signals import pre_migrate
from psycopg import sql

from jobs.models import Attempt, Run
from jobs.services import control, definitions, preflight, running
from jobs.services.preflight import Level
from jobsched.domain.manifest import parse_job

PROJECT = Path(__file__).parents[2]
ENCODINGS = ["SQL_ASCII", "LATIN1"]


@contextmanager
def database(encoding: str) -> Iterator[str]:
    """Make an empty database, point Django's connection at it, and return its address."""
    server, name = os.environ["JOBSCHED_DATABASE_URL"], f"jobs_{encoding.lower()}_{uuid4().hex[:8]}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(
            sql.SQL("CREATE DATABASE {} ENCODING {} LOCALE 'C' TEMPLATE template0").format(
                sql.Identifier(name), sql.Literal(encoding)
            )
        )
        connection.close()
        before = connection.settings_dict
        connection.settings_dict = {**before, "NAME": name}
        try:
            yield urlsplit(server)._replace(path=f"/{name}").geturl()
        finally:
            connection.close()
            connection.settings_dict = before
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_check_doctor_and_migrate_refuse_a_database_that_cannot_hold_every_character(
    encoding: str, transactional_db: None
) -> None:
    with database(encoding):
        [refused] = [message for message in run_checks(databases=["default"]) if "encoding" in message.msg]
        assert refused.is_serious() and encoding in refused.msg

        [found] = [finding for finding in preflight.examine().findings if finding.check == "encoding"]
        assert found.level is Level.ERROR and found.sentence == refused.msg

        with pytest.raises(CommandError, match=f"encoding {encoding}"):
            call_command("migrate", skip_checks=True, verbosity=0)
        assert connection.introspection.table_names() == []


def test_a_database_in_utf_8_is_fine(transactional_db: None) -> None:
    [found] = [finding for finding in preflight.examine().findings if finding.check == "encoding"]
    assert found.level is Level.FINE


def test_migrate_ends_with_a_sentence(process_env: Mapping[str, str], transactional_db: None) -> None:
    with database("SQL_ASCII") as url:
        done = subprocess.run(
            [sys.executable, "manage.py", "migrate"],
            env={**process_env, "JOBSCHED_DATABASE_URL": url},
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert connection.introspection.table_names() == []
    assert done.returncode == 1
    assert "encoding SQL_ASCII" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.usefixtures("own_slot")
def test_a_run_whose_output_such_a_database_refuses_ends_with_that_reason_and_is_not_repeated(
    transactional_db: None, tmp_path: Path
) -> None:
    """As in a database that an earlier version has migrated."""
    with database("SQL_ASCII"):
        receivers, pre_migrate.receivers = pre_migrate.receivers, []
        try:
            call_command("migrate", skip_checks=True, verbosity=0)
        finally:
            pre_migrate.receivers = receivers
        ran = tmp_path / "ran"
        retries = {"max": 3, "backoff": "0s"}
        job = {"name": "Printer", "run": f"echo once >> {ran}; printf 'caf\\303\\251\\n'", "retries": retries}
        definitions.save(parse_job(job), actor="test")
        control.trigger(job="Printer", actor="test")

        running.work("default", hostname="slot")

        run = Run.objects.get()
        assert (run.state, ran.read_text()) == ("failed", "once\n")
        assert "cannot be stored: the database refuses it" in run.reason
        [attempt] = Attempt.objects.all()
        assert (attempt.verdict, attempt.reason) == ("failed", run.reason)
