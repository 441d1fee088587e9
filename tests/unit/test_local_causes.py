"""What a local stack says when it could not start: one sentence, from logs of many lines."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from jobsched.local.causes import cause_in, sentence
from jobsched.local.service import StartFailed

DJANGO = """\
Operations to perform:
  Apply all migrations: admin, jobsched
Traceback (most recent call last):
  File "django/db/backends/utils.py", line 105, in _execute
    return self.cursor.execute(sql, params)
psycopg.errors.DiskFull: could not extend file "base/16386/2674": No space left on device
HINT:  Check free disk space.

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "manage.py", line 12, in <module>
    execute_from_command_line(sys.argv)
django.db.utils.OperationalError: server closed the connection unexpectedly
\tThis probably means the server terminated abnormally
"""
CHECKS = """\
SystemCheckError: System check identified some issues:

ERRORS:
?: (jobs.E004) PostgreSQL cannot be asked: connection refused
\tHINT: See `manage.py doctor`.
"""
POSTGRES = """\
2026-11-28 13:22:53 UTC [1] LOG:  starting PostgreSQL 18.6
2026-11-28 13:22:53 UTC [40] FATAL:  could not open file "global/pg_filenode.map": Permission denied
2026-11-28 13:22:53 UTC [1] LOG:  database system is shut down
"""


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        (DJANGO, 'psycopg.errors.DiskFull: could not extend file "base/16386/2674": No space left on device'),
        (
            DJANGO.replace("No space", "Some space"),
            "django.db.utils.OperationalError: server closed the connection unexpectedly",
        ),
        (CHECKS, "?: (jobs.E004) PostgreSQL cannot be asked: connection refused"),
        (POSTGRES, 'FATAL:  could not open file "global/pg_filenode.map": Permission denied'),
        ("starting\nno such module\n", "no such module"),
        ("", "it wrote nothing"),
    ],
)
def test_the_cause_is_the_last_line_that_names_an_error(log: str, cause: str) -> None:
    assert cause_in(log).endswith(cause)
    assert "\n" not in cause_in(log)


def is_full(data: Path, text: str) -> bool:
    assert "\n" not in text
    return text.startswith(f"The disk of {data} is full: make room on it and run the command again")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_an_error_of_a_full_disk_says_so(tmp_path: Path, number: int) -> None:
    assert is_full(tmp_path, sentence(OSError(number, os.strerror(number), "secrets.json"), tmp_path))


def test_a_log_of_this_start_that_names_a_full_disk_decides(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    log = tmp_path / "log" / "postgres.log"
    log.write_text('PANIC:  could not write to file "pg_wal/xlogtemp.40": No space left on device\n')
    failed = StartFailed("migrate failed (exit code 1): server closed the connection unexpectedly; see migrate.log.")
    assert is_full(tmp_path, sentence(failed, tmp_path, since=time.time() - 60))
    os.utime(log, (0, 0))
    assert sentence(failed, tmp_path, since=time.time() - 60) == str(failed)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EMFILE])
def test_other_errors_of_the_system_are_one_sentence_too(tmp_path: Path, number: int) -> None:
    why = os.strerror(number)
    text = sentence(OSError(number, why, str(tmp_path / "secrets.json")), tmp_path)
    assert text == f"{tmp_path}/secrets.json cannot be used: {why}; correct that, or use another folder with --data."
