"""The roles of a private PostgreSQL: our processes get one that is no superuser and owns one database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from jobsched.local.account import PROJECT
from jobsched.local.brokers import install_pgmq
from jobsched.local.roles import Access
from jobsched.local.servers import DatabaseServer, postgres
from jobsched.local.state import DataFolder

OBJECTS_OF_OTHERS = """
    SELECT c.relname, pg_get_userbyid(c.relowner) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relowner <> 'jobsched'::regrole
    UNION ALL
    SELECT p.proname, pg_get_userbyid(p.proowner) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND p.proowner <> 'jobsched'::regrole
    UNION ALL
    SELECT t.typname, pg_get_userbyid(t.typowner) FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND t.typowner <> 'jobsched'::regrole
"""


def migrate(url: str) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "migrate", "--noinput"],
        cwd=PROJECT,
        env={**os.environ, "JOBSCHED_DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def rights(url: str) -> tuple[bool, ...]:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT rolsuper, rolcreaterole, rolreplication, rolbypassrls FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
    assert row is not None
    return tuple(row)


def test_the_role_of_our_processes_owns_its_database_and_has_no_rights_beyond_it(tmp_path: Path) -> None:
    with postgres(tmp_path) as server:
        assert not any(rights(server.url))
        with psycopg.connect(server.url, autocommit=True) as link:
            owned = link.execute("SELECT datname FROM pg_database WHERE pg_get_userbyid(datdba) = current_user")
            assert owned.fetchall() == [("jobsched",)]
            for statement in (
                "CREATE ROLE another",
                "ALTER SYSTEM SET fsync = off",
                "COPY (SELECT 1) TO PROGRAM 'cat'",
                "SELECT pg_read_file('postgresql.conf')",
                "SELECT rolpassword FROM pg_authid",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    link.execute(statement)
        migrate(server.url)
        install_pgmq(server.url)


def as_an_earlier_version_made_it(server: DatabaseServer, access: Access) -> None:
    """Leave one role, which is the first superuser of the server and owns the database."""
    with psycopg.connect(server.superuser_url, dbname="postgres", autocommit=True) as link:
        link.execute("DROP DATABASE jobsched")
        link.execute("DROP OWNED BY jobsched")
        link.execute("DROP ROLE jobsched")
        link.execute("CREATE ROLE helper SUPERUSER LOGIN PASSWORD 'helper'")
    helper = server.superuser_url.replace("postgres:" + access.superuser_password, "helper:helper")
    with psycopg.connect(helper, dbname="postgres", autocommit=True) as link:
        link.execute("ALTER ROLE postgres RENAME TO jobsched")
        link.execute(f"ALTER ROLE jobsched PASSWORD '{access.role_password}'")
        link.execute("CREATE DATABASE jobsched OWNER jobsched")
    with psycopg.connect(server.url, autocommit=True) as link:
        link.execute("DROP ROLE helper")


def test_a_data_folder_whose_role_was_the_superuser_is_changed_over(tmp_path: Path) -> None:
    kept = tmp_path / "secrets.json"
    with postgres(tmp_path) as server:
        as_an_earlier_version_made_it(server, Access.of(DataFolder(tmp_path).secrets(), 0))
        assert rights(server.url)[0], "the test does not make what an earlier version made"
        migrate(server.url)
        install_pgmq(server.url)
        with psycopg.connect(server.url, autocommit=True) as link:
            link.execute("CREATE SCHEMA own; CREATE TYPE own.mood AS ENUM ('good'); CREATE DOMAIN own.short AS text")
            link.execute("CREATE TABLE own.kept (id bigserial PRIMARY KEY, at own.mood)")
            link.execute("CREATE VIEW own.seen AS SELECT * FROM own.kept; INSERT INTO own.kept (at) VALUES ('good')")
            link.execute("CREATE DATABASE another")
    secrets = json.loads(kept.read_text())
    del secrets["postgres_superuser_password"]
    kept.write_text(json.dumps(secrets))

    for _ in range(2):  # the second start finds nothing to do
        with postgres(tmp_path) as server:
            assert not any(rights(server.url))
            with psycopg.connect(server.url, autocommit=True) as link:
                assert link.execute(OBJECTS_OF_OTHERS).fetchall() == []
                assert link.execute("SELECT at::text FROM own.seen").fetchall() == [("good",)]
                others = link.execute(
                    "SELECT datname FROM pg_database WHERE NOT datistemplate AND pg_get_userbyid(datdba) <> 'jobsched'"
                )
                assert others.fetchall() == [("postgres",)]
            migrate(server.url)
            with psycopg.connect(server.superuser_url) as link:
                able = link.execute("SELECT rolname FROM pg_roles WHERE rolcanlogin AND rolsuper").fetchall()
                assert able == [("postgres",)]
