"""Ways to keep a run's processes together, best first, and how the guard process enters each."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path

from jobsched.domain.errors import InvalidInput
from jobsched.shim import libc


class Isolation(StrEnum):
    """How the shim makes sure that nothing of a run survives it."""

    NAMESPACE = "namespace"
    """A PID namespace made with the rights of root."""
    USER_NAMESPACE = "user-namespace"
    """A PID namespace inside a user namespace in which we are who we were; needs no rights."""
    SUBREAPER = "subreaper"
    """No namespace: orphans are adopted and found by walking /proc."""


def candidates(wanted: str, *, job_users: bool = False) -> tuple[Isolation, ...]:
    """Return what to try, in order, for a value of JOBSCHED_ISOLATION. Raises `InvalidInput` for an unknown one.

    With `job_users`, runs have users of their own, which a new user namespace does not have.
    """
    known = _candidates(wanted)
    return tuple(one for one in known if not (job_users and one is Isolation.USER_NAMESPACE))


def _candidates(wanted: str) -> tuple[Isolation, ...]:
    match wanted:
        case "auto" | "":
            return (Isolation.NAMESPACE, Isolation.USER_NAMESPACE, Isolation.SUBREAPER)
        case "namespace":
            return (Isolation.NAMESPACE, Isolation.USER_NAMESPACE)
        case "subreaper":
            return (Isolation.SUBREAPER,)
    raise InvalidInput(f"JOBSCHED_ISOLATION is {wanted!r}; it must be auto, namespace or subreaper")


def enter(isolation: Isolation) -> None:
    """Prepare the calling process so that its next child is the shim. Raises OSError where not allowed.

    A failure may leave the process half-way between users: it must then exit.
    """
    match isolation:
        case Isolation.NAMESPACE:
            libc.unshare(libc.CLONE_NEWPID)
        case Isolation.USER_NAMESPACE:
            enter_user_namespace(libc.CLONE_NEWPID)
        case Isolation.SUBREAPER:
            libc.become_subreaper()


def enter_user_namespace(others: int) -> None:
    """Enter a user namespace in which this process keeps its user and group, with the namespaces in the flags `others`.

    Raises OSError where that is not allowed.
    """
    user, group = os.geteuid(), os.getegid()
    # A process that is not dumpable cannot write its own map.
    libc.set_dumpable(True)
    libc.unshare(libc.CLONE_NEWUSER | others)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    libc.set_dumpable(False)
