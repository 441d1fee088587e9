"""Kill everything that a job user runs, in one call of the kernel."""

from __future__ import annotations

import os
import select
import signal
from typing import Final

from jobsched.shim.users import User

_TRIES: Final = 5
_SECONDS: Final = 2.0


def kill_processes_of(user: User) -> None:
    """Send SIGKILL to every process of `user`, whatever it forks meanwhile. For a process that may become `user`.

    The kernel sends it to all that exist in one step, and refuses forks to processes with a pending signal.
    """
    for _ in range(_TRIES):
        pid = os.fork()
        if pid == 0:
            _kill_all_as(user)
        if _succeeded_within(pid, _SECONDS):
            return


def _kill_all_as(user: User) -> None:
    try:
        os.setgroups([])
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
        os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:  # there is no other process of this user
        os._exit(0)
    except BaseException:
        os._exit(1)
    os._exit(0)


def _succeeded_within(pid: int, seconds: float) -> bool:
    """Tell whether the process did its work: one of the same user may have killed or stopped it first."""
    ended = os.pidfd_open(pid)
    try:
        poller = select.poll()
        poller.register(ended, select.POLLIN)
        if not poller.poll(seconds * 1000):
            signal.pidfd_send_signal(ended, signal.SIGKILL)
        return os.waitpid(pid, 0)[1] == 0
    finally:
        os.close(ended)
