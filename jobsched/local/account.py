"""Run a server that refuses to be root, when we are root: under another user, who can still reach its files."""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

from jobsched.domain.errors import Unavailable


@dataclass(frozen=True, kw_only=True)
class Account:
    """How to run a program: words to put before it, and the user and group that its files must belong to."""

    prefix: tuple[str, ...] = ()
    uid: int
    gid: int


def unprivileged(program: Path, folder: Path) -> Account:
    """Find an account other than root that can run `program` and write into `folder`, and give it `folder`.

    Raises Unavailable when none can. Not root already: the account is the present one.
    """
    me = Account(uid=os.geteuid(), gid=os.getegid())
    if me.uid != 0:
        return me
    for account in _candidates(folder):
        if account.uid != 0:
            # The user must get through to its own folder; what lies beside it is protected by itself.
            folder.parent.chmod(0o711)
        _give(folder, account)
        if _works(account, program, folder):
            return account
    raise Unavailable(
        f"PostgreSQL refuses to run as root, and no other user can reach {program.parent} and {folder}: run this "
        "as a normal user, or move the project to a folder that everyone may enter, such as one below /srv."
    )


def _candidates(folder: Path) -> list[Account]:
    nobody = pwd.getpwnam("nobody")
    # First a user namespace in which root goes by another number: its files stay reachable and stay root's.
    renamed = ("unshare", "--user", f"--map-user={nobody.pw_uid}", f"--map-group={nobody.pw_gid}", "--")
    found = [Account(prefix=renamed, uid=0, gid=0)]
    # `sudo make up` in a user's own checkout: that user can reach it.
    owner = _first_owner(folder)
    for uid, gid in (*owner, (nobody.pw_uid, nobody.pw_gid)):
        prefix = ("setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--")
        found.append(Account(prefix=prefix, uid=uid, gid=gid))
    return found


def _first_owner(folder: Path) -> list[tuple[int, int]]:
    for parent in folder.parents:
        status = parent.stat()
        if status.st_uid != 0:
            return [(status.st_uid, status.st_gid)]
    return []


def _give(folder: Path, account: Account) -> None:
    if folder.stat().st_uid == account.uid:
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def _works(account: Account, program: Path, folder: Path) -> bool:
    check = 'test -w "$2" && exec "$1" --version'
    try:
        done = subprocess.run(
            [*account.prefix, "sh", "-c", check, "sh", str(program), str(folder)],
            cwd="/",
            capture_output=True,
            check=False,
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
