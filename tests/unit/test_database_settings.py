"""What an address of a database means to Django."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from config.database import Patience, database

PATIENCE = Patience(statement=30, idle_in_transaction=60, acknowledgement=7.5, connect=5)


def entry(url: str, *, own_sessions: bool = True, migrating: bool = False) -> dict[str, Any]:
    return database(url, patience=PATIENCE, own_sessions=own_sessions, migrating=migrating)


def test_one_server() -> None:
    made = entry("postgres://us%40er:pa%3Ass@db.example.com/jobs")
    assert {name: made[name] for name in ("USER", "PASSWORD", "HOST", "PORT", "NAME")} == {
        "USER": "us@er",
        "PASSWORD": "pa:ss",
        "HOST": "db.example.com",
        "PORT": "5432",
        "NAME": "jobs",
    }
    assert made["OPTIONS"]["tcp_user_timeout"] == 7500
    assert "target_session_attrs" not in made["OPTIONS"]


def test_several_servers_of_which_the_one_that_can_be_written_to_is_used() -> None:
    made = entry("postgresql://u:p@one:5433,two,[::1]:5434,[::2]/jobs")
    assert (made["HOST"], made["PORT"]) == ("one,two,::1,::2", "5433,5432,5434,5432")
    assert made["OPTIONS"]["target_session_attrs"] == "read-write"


def test_the_server_is_told_time_limits() -> None:
    told = entry("postgres://u:p@h/d")["OPTIONS"]["options"]
    assert told == "-c statement_timeout=30000 -c idle_in_transaction_session_timeout=60000"


def test_what_the_address_says_counts_more() -> None:
    options = entry("postgres://u:p@one,two/d?target_session_attrs=any&options=-c%20work_mem%3D8MB")["OPTIONS"]
    assert options["target_session_attrs"] == "any"
    assert options["options"].endswith("idle_in_transaction_session_timeout=60000 -c work_mem=8MB")


def test_migrations_have_no_time_limits() -> None:
    told = entry("postgres://u:p@h/d", migrating=True)["OPTIONS"]["options"]
    assert told == "-c statement_timeout=0 -c idle_in_transaction_session_timeout=0"


def test_pgbouncer_is_told_none() -> None:
    assert "options" not in entry("postgres://u:p@h/d", own_sessions=False)["OPTIONS"]


def start(**env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "check"],
        env={**os.environ, **env},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"JOBSCHED_DATABASE_URL": "mysql://u:Secret@h/d"}, "DATABASE_URL must name a PostgreSQL server"),
        ({"JOBSCHED_DATABASE_URL": "postgres://u:Secret@h:0/d"}, "names '0' as the port of h"),
        ({"JOBSCHED_DATABASE_URL": "postgres://u:Secret@a:1,b:x/d"}, "names 'x' as the port of b"),
        ({"JOBSCHED_STATEMENT_TIMEOUT_SECONDS": "-1"}, "must not be negative"),
    ],
)
def test_what_is_wrong_stops_the_process_with_a_sentence(given: dict[str, str], sentence: str) -> None:
    done = start(**given)
    assert done.returncode != 0
    assert sentence in done.stderr.splitlines()[-1]
    assert "Secret" not in done.stderr
