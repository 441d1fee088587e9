"""What a worker that was started as root does before it works: it keeps a launcher, and gives up its rights.

The launcher is forked once all that performs runs is loaded, and before a connection exists. See
`jobsched.shim.launcher`.
"""

from __future__ import annotations

import logging
import os
import pwd
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from jobs.conf import conf
from jobs.output_storage import output_folder
from jobs.services.running.slot import (
    cover_private_files,
    forget_shared,
    hidden_settings,
    secret_files,
    use_launcher,
)
from jobsched import callables
from jobsched.domain.errors import InvalidInput
from jobsched.engine import folders, launching
from jobsched.shim import users
from jobsched.shim.guard import JobUsers
from jobsched.shim.users import User

logger = logging.getLogger(__name__)


def give_up(*, prepare: Callable[[], None]) -> bool:
    """In a worker's main process: fork the launcher where runs can have users of their own, then drop to our user.

    `prepare` is called once in the launcher, before any run. Return whether this process was privileged and is not
    any more. Exits with one sentence when what is configured is not possible.
    """
    cover_private_files()
    try:
        service, uids = users.service_user(os.environ), users.job_uids(os.environ)
    except InvalidInput as error:
        _exit(str(error))
    if service is None or not _may_reach(service, conf().data_dir):
        return False
    os.setgroups([])
    try:
        folders.prepare(conf().data_dir, conf().workspace_dir, _stores(), service)
        open_entries = folders.open_entries(conf().data_dir, conf().workspace_dir, service)
    except InvalidInput as error:
        _exit(str(error))
    except OSError as error:
        _exit(f"The folders below {conf().data_dir} cannot be given to user {_name(service)}: {error}.")
    if uids and _may_reach(User(uids[0], uids[0]), conf().workspace_dir):
        open_files = folders.readable(User(uids[0], uids[0]), secret_files())
        job_users = JobUsers(service=service, uids=uids, locks=conf().workspace_dir / "job-users")
        _start_launcher(job_users, prepare, (*open_entries, *map(str, open_files)))
    users.drop_to(service)
    logger.info("this worker was started as root and continues as user %s", _name(service))
    return True


def _may_reach(user: User, folder: Path) -> bool:
    closed = folders.closed_to(user, folder=folder)
    if closed is not None:
        logger.warning(
            "user %s cannot read or enter %s, so no process of this worker can be of that user: let others pass "
            "through the folders above it (chmod o+x), or install the project elsewhere",
            _name(user),
            closed,
        )
    return closed is None


def _start_launcher(job_users: JobUsers, prepare: Callable[[], None], open_entries: tuple[str, ...]) -> None:
    callables.allowed_modules()  # determined once here, and not in the process of each run
    use_launcher(
        launching.launcher(
            job_users,
            workspace_dir=conf().workspace_dir,
            after_fork=forget_shared,
            hidden=hidden_settings(),
            prepare=prepare,
        ),
        open_entries=open_entries,
    )


def _stores() -> list[Path]:
    """Return the folder of stored output when it is one inside the data folder."""
    folder = output_folder()
    return [folder] if folder is not None and folder.is_relative_to(conf().data_dir) else []


def _name(user: User) -> str:
    try:
        return pwd.getpwuid(user.uid).pw_name
    except KeyError:
        return str(user.uid)


def _exit(sentence: str) -> NoReturn:
    # Celery logs the exceptions of its signals' receivers and goes on; this one it does not catch.
    sys.exit(sentence)
