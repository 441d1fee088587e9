"""How every command begins that starts servers or processes of ours: the stack, tests, chaos, benchmarks."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import click

from jobsched.domain.errors import JobschedError
from jobsched.local.account import choose_user
from jobsched.local.confine import confined
from jobsched.local.reach import open_ways, what_is_read
from jobsched.shim.users import User, job_uids, service_user


def run_confined(work: Callable[[], int], *, data: Path | None = None) -> int:
    """Run `work` so that nothing it starts outlives it, and return its exit status; see `confine`.

    Started by root: what it starts finds the service user in JOBSCHED_USER, and that user and the users of runs can
    read the project and reach `data`. Where they cannot, one sentence says so, and the status is 1.
    """
    choose_user(os.environ)

    def prepared() -> int:
        try:
            _open_ways(data)
        except JobschedError as error:
            click.echo(f"Error: {error}", err=True)
            return 1
        return work()

    return confined(prepared)


def _open_ways(data: Path | None) -> None:
    user = service_user(os.environ)
    if user is None:
        return
    runs = [User(uid, uid) for uid in job_uids(os.environ)[:1]]
    open_ways(read=what_is_read(), passed=[] if data is None else [data], users=[user, *runs])
