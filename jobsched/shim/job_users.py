"""Take a job user that no other worker slot has: none of this host, and none that shares the folder of workspaces.

Containers do not see each other's /run, and may share the folder of workspaces. So a user is locked in both places.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import random
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jobsched.domain.errors import Unavailable
from jobsched.shim.users import User, acting_as

_LOCKS: Final = "jobsched-job-users"
_LOCK_FOLDERS: Final = (Path("/run", _LOCKS), Path("/tmp", _LOCKS))  # noqa: S108 - what is another user's is not used


@dataclass(frozen=True, slots=True)
class TakenUser:
    """A job user, and the descriptors of the locks that keep others from taking it while they are open."""

    user: User
    locks: tuple[int, int]


def take(uids: range, *, shared: Path, service: User) -> TakenUser:
    """Take one of `uids` until this process ends.

    `shared` is a folder that all workers with the same workspaces have in common; it is made if need be, and belongs to
    `service`, which may be the only one to enter it. Raises `Unavailable` when all users are taken, or when a folder
    cannot hold their locks.
    """
    folder = _lock_folder()
    first = random.randrange(len(uids))  # noqa: S311 - no secret
    for number in range(len(uids)):
        uid = uids[(first + number) % len(uids)]
        if not _is_account(uid) and (locks := _locked_in_both(folder, shared, uid, service)):
            return TakenUser(User(uid, uid), locks)
    raise Unavailable(
        f"all {len(uids)} users for runs are taken by other worker slots, or are accounts; name more in "
        "JOBSCHED_JOB_UIDS"
    )


def _locked_in_both(folder: Path, shared: Path, uid: int, service: User) -> tuple[int, int] | None:
    here = _locked(folder / str(uid))
    if here < 0:
        return None
    try:
        with acting_as(service):  # root without CAP_DAC_OVERRIDE may not write there
            shared.mkdir(mode=0o700, exist_ok=True)
            there = _locked(shared / str(uid))
    except OSError as error:
        os.close(here)
        raise Unavailable(f"{shared} cannot hold the locks of users for runs: {error.strerror}") from error
    if there < 0:
        os.close(here)
        return None
    return here, there


def _locked(file: Path) -> int:
    """Return the descriptor of the locked file, or -1 when another process holds the lock."""
    lock = os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return -1
    return lock


def _is_account(uid: int) -> bool:
    """Tell whether a number belongs to an account, whose processes would be killed with a run."""
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _lock_folder() -> Path:
    """Return a folder that only this user may enter, the same for all workers of this host."""
    for folder in _LOCK_FOLDERS:
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            status = folder.lstat()
        except OSError:  # read-only, as in many containers
            continue
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077:
            return folder
    raise Unavailable(f"neither /run nor /tmp can hold a folder {_LOCKS} of root's, for the locks of users for runs")
