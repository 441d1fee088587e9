"""Take a job user that no other worker slot of this host has."""

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
from jobsched.shim.users import User

_LOCKS: Final = "jobsched-job-users"
_LOCK_FOLDERS: Final = (Path("/run", _LOCKS), Path("/tmp", _LOCKS))  # noqa: S108 - what is another user's is not used


@dataclass(frozen=True, slots=True)
class TakenUser:
    """A job user, and the descriptor of the lock that keeps others from taking it while it is open."""

    user: User
    lock: int


def take(uids: range) -> TakenUser:
    """Take one of `uids` until this process ends. Raises `Unavailable` when all are taken.

    The search begins at a random number: workers in containers do not see each other's locks, and so they rarely have
    the same users on a volume that they share.
    """
    folder = _lock_folder()
    first = random.randrange(len(uids))  # noqa: S311 - no secret
    for number in range(len(uids)):
        uid = uids[(first + number) % len(uids)]
        if not _is_account(uid) and (lock := _locked(folder / str(uid))) >= 0:
            return TakenUser(User(uid, uid), lock)
    raise Unavailable(
        f"all {len(uids)} users for runs are taken by other worker slots of this host, or are accounts; name more in "
        "JOBSCHED_JOB_UIDS"
    )


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
