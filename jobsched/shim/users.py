"""The users that the processes of an installation have when it was started as root.

    root ─ the launcher, and the guard and shim of each slot: SETUID, SETGID, CHOWN and KILL are enough
    service user ─ web, beat, Flower, the local servers, the Celery parent and its slots: no capability
    job users, one for each slot ─ runs and all that they start: no capability

Nothing here changes anything for a process that an ordinary user started.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jobsched.domain.errors import InvalidInput
from jobsched.shim import capabilities, libc
from jobsched.shim.capabilities import Capability

USER_VARIABLE: Final = "JOBSCHED_USER"
JOB_UIDS_VARIABLE: Final = "JOBSCHED_JOB_UIDS"
JOB_UIDS: Final = range(60800, 61056)
"""Numbers that no account gets by itself: adduser ends at 59999, systemd-homed has 60001-60513, and systemd gives
61184-65519 to services with DynamicUser= (systemd's UIDS-GIDS page)."""
NO_HOME: Final = "/nonexistent"
"""What Debian gives to accounts without a home."""
_DEFAULT_ACCOUNTS: Final = ("jobsched", "nobody")
_HIGHEST_ID: Final = 2**32 - 2
_OF_A_USER: Final = ("HOME", "USER", "LOGNAME")


@dataclass(frozen=True, slots=True)
class User:
    """A user and its group, by number."""

    uid: int
    gid: int


def may_change_users() -> bool:
    """Tell whether this process may become another user: root, or a process with CAP_SETUID and CAP_SETGID."""
    return capabilities.holds(Capability.SETUID, Capability.SETGID)


def service_user(environ: Mapping[str, str]) -> User | None:
    """Return the user that our own processes become, or None when this process cannot change its user.

    It is the one that JOBSCHED_USER names: an account or `uid:gid`. Without that it is the account `jobsched`, or
    `nobody` where there is none. Raises `InvalidInput` when JOBSCHED_USER names root, an account that does not exist,
    or a number that this user namespace does not map.
    """
    if not may_change_users():
        return None
    wanted = environ.get(USER_VARIABLE, "")
    if wanted:
        return _named(wanted)
    found = next((user for name in _DEFAULT_ACCOUNTS if (user := _account(name)) is not None), None)
    # A user namespace that maps root alone has no other user.
    return found if found is not None and _is_mapped(found) else None


def job_uids(environ: Mapping[str, str]) -> range:
    """Return the numbers for users of runs, one for each slot; empty when runs have the user of their worker.

    JOBSCHED_JOB_UIDS is `first-last`, or `off`. The number is that of the group, too. Raises `InvalidInput`.
    """
    text = environ.get(JOB_UIDS_VARIABLE, "")
    uids = JOB_UIDS if not text else _uid_range(text)
    if not may_change_users() or not capabilities.holds(Capability.CHOWN, Capability.KILL) or not uids:
        return range(0)
    if not all(_is_mapped(User(uid, uid)) for uid in (uids[0], uids[-1])):
        if text:
            raise InvalidInput(f"{JOB_UIDS_VARIABLE} is {text!r}; this user namespace has no users with these numbers")
        return range(0)
    service = service_user(environ)
    if service is not None and service.uid in uids:
        raise InvalidInput(
            f"{JOB_UIDS_VARIABLE} contains {service.uid}, the user of our own processes; name numbers that nobody has"
        )
    return uids


@dataclass(frozen=True, kw_only=True, slots=True)
class SlotUsers:
    """The users of one slot: of its own process, and of its runs."""

    service: User
    job: User


def drop_to(user: User) -> None:
    """Become `user` permanently, as `become` does; HOME, USER and LOGNAME then describe this user."""
    become(user)
    for name in _OF_A_USER:
        os.environ.pop(name, None)
    os.environ.update(described(user, {}))


def become(user: User) -> None:
    """Become `user` permanently: no other groups, no capability, no way to gain one, and not dumpable.

    The signal that `die_with_parent` asked for is kept. Raises OSError when this process cannot change
    its user.
    """
    parent, death_signal = os.getppid(), libc.parent_death_signal()
    capabilities.empty_bounding_set()
    os.setgroups([])
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)
    capabilities.drop_all()
    libc.set_dumpable(False)
    if death_signal:
        # The kernel has forgotten it with the change of the user.
        libc.die_with_parent(death_signal)
        if os.getppid() != parent:
            os.kill(os.getpid(), death_signal)


def become_run(user: User) -> None:
    """In a run's process: become `user` permanently, as `become` does, where the shim has done a part for all runs.

    It has no other groups, and no capability that the bounding set allows; no_new_privs is set.
    """
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)
    capabilities.give_up()
    libc.set_dumpable(False)


def give_up_root() -> User | None:
    """Become the service user, and return it; None where this process cannot change its user.

    For processes of jobsched that root starts directly. Raises `InvalidInput` like `service_user`.
    """
    user = service_user(os.environ)
    if user is not None:
        drop_to(user)
    return user


@contextmanager
def acting_as(user: User) -> Iterator[None]:
    """Open, make and remove files as `user` for a while. The real user stays, so no process of `user` may signal us.

    For a process with a single thread that has no supplementary groups.
    """
    uid, gid = os.geteuid(), os.getegid()
    death_signal = libc.parent_death_signal()
    os.setegid(user.gid)
    try:
        os.seteuid(user.uid)
        yield
    finally:
        os.seteuid(uid)
        os.setegid(gid)
        # The kernel sets both back when the effective user changes.
        libc.set_dumpable(False)
        libc.die_with_parent(death_signal)


def described(user: User, environ: Mapping[str, str]) -> dict[str, str]:
    """Return `environ` with HOME, USER and LOGNAME of `user`."""
    others = {name: value for name, value in environ.items() if name not in _OF_A_USER}
    try:
        account = pwd.getpwuid(user.uid)
    except KeyError:
        return {**others, "HOME": NO_HOME}
    return {**others, "HOME": account.pw_dir, "USER": account.pw_name, "LOGNAME": account.pw_name}


def _named(text: str) -> User:
    numbers = re.fullmatch(r"(\d{1,10}):(\d{1,10})", text)
    user = User(int(numbers[1]), int(numbers[2])) if numbers else _account(text)
    if user is None:
        raise InvalidInput(f"{USER_VARIABLE} is {text!r}; it must be the name of an account, or numbers as in 998:998")
    if user.uid == 0 or user.gid == 0:
        raise InvalidInput(f"{USER_VARIABLE} is {text!r}, which is root; name a user without rights")
    if not _is_mapped(user):
        raise InvalidInput(f"{USER_VARIABLE} is {text!r}; this user namespace has no user with these numbers")
    return user


def _account(name: str) -> User | None:
    try:
        account = pwd.getpwnam(name)
    except KeyError:
        return None
    return User(account.pw_uid, account.pw_gid)


def _uid_range(text: str) -> range:
    if text == "off":
        return range(0)
    numbers = re.fullmatch(r"(\d{1,10})-(\d{1,10})", text)
    if numbers is None or not 0 < int(numbers[1]) <= int(numbers[2]) <= _HIGHEST_ID:
        raise InvalidInput(
            f"{JOB_UIDS_VARIABLE} is {text!r}; it must be `off`, or numbers of users that nothing else has, as in "
            f"{JOB_UIDS[0]}-{JOB_UIDS[-1]}"
        )
    return range(int(numbers[1]), int(numbers[2]) + 1)


def _is_mapped(user: User) -> bool:
    return _maps("/proc/self/uid_map", user.uid) and _maps("/proc/self/gid_map", user.gid)


def _maps(file: str, number: int) -> bool:
    """Tell whether a user namespace has a number. A line is: first number inside, first outside, how many."""
    lines = (line.split() for line in Path(file).read_text().splitlines())
    return any(int(first) <= number < int(first) + int(count) for first, _outside, count in lines)
