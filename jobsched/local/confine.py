"""Run something so that no process it starts outlives it, not even when it is killed with SIGKILL.

Where the kernel lets us, in a PID namespace: when its first process ends, the kernel ends the rest.
Elsewhere by a watcher that adopts orphans and ends them when the work is over.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NoReturn

from jobsched.shim import libc
from jobsched.shim.isolation import enter_user_namespace
from jobsched.shim.tree import descendants

_FORWARDED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_WATCHED: Final = {*_FORWARDED, signal.SIGCHLD}
_CANNOT: Final = 70
_NAMESPACES: Final = libc.CLONE_NEWPID | libc.CLONE_NEWNS


def confined(work: Callable[[], int], *, namespace: bool | None = None) -> int:
    """Run `work` in a process of its own and return its exit status, 128 + n when signal n ended it.

    `namespace` insists on a PID namespace or refuses one; by default there is one where the kernel allows it.
    SIGINT, SIGTERM and SIGHUP are passed on to it, from when it calls `listen`. It may see a signal twice: from a
    terminal and from here.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    if not (_may_have_namespace() if namespace is None else namespace):
        libc.become_subreaper()
        # A request, not an order: the work ends its own children in order when its watcher is gone.
        status = _watch(_fork(lambda: _work(work, signal.SIGTERM)))
        _end_descendants()
        return status
    _enter_namespace()
    return _watch(_fork(lambda: _first_process(work)))


def _first_process(work: Callable[[], int]) -> int:
    libc.die_with_parent(signal.SIGKILL)
    _mount_proc()
    return _watch(_fork(lambda: _work(work, signal.SIGKILL)))


def _work(work: Callable[[], int], at_parents_death: signal.Signals) -> int:
    libc.die_with_parent(at_parents_death)
    # Whatever the caller did about it is not meant for the work.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    return work()


def end_with(parent: int) -> None:
    """Get SIGTERM when the process that started this one ends, however it ends; at once if it is not `parent`."""
    libc.die_with_parent(signal.SIGTERM)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


def listen() -> None:
    """To be called by the work as soon as it is prepared for signals; those that came before arrive now.

    Processes that are started before that would inherit the blocked signals.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)


def _watch(child: int) -> int:
    """Pass signals on to `child` and reap whatever ends, until `child` does."""
    while True:
        received = signal.sigwait(_WATCHED)
        if received != signal.SIGCHLD:
            # Blocked signals arrive here even when they are to be ignored, as SIGHUP is under nohup.
            if signal.getsignal(received) is not signal.SIG_IGN:
                with suppress(ProcessLookupError):
                    os.kill(child, received)
            continue
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == child:
                    code = os.waitstatus_to_exitcode(ended[1])
                    return code if code >= 0 else 128 - code


def _fork(then: Callable[[], int]) -> int:
    pid = os.fork()
    if pid == 0:
        _leave_with(then)
    return pid


def _leave_with(then: Callable[[], int]) -> NoReturn:
    status = 1
    try:
        status = then()
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _may_have_namespace() -> bool:
    """Try it in a process that is thrown away: half of a namespace could not be left again."""

    def attempt() -> int:
        try:
            _enter_namespace()
            inner = _fork(_attempt_proc)
            return os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1])
        except OSError:
            return _CANNOT

    return os.waitpid(_fork(attempt), 0)[1] == 0


def _attempt_proc() -> int:
    try:
        _mount_proc()
    except OSError:
        return _CANNOT
    return 0


def _enter_namespace() -> None:
    """The next child is the first process of a new PID namespace. Raises OSError where that is not allowed."""
    if os.geteuid() == 0:
        libc.unshare(_NAMESPACES)
    else:
        enter_user_namespace(_NAMESPACES)


def _mount_proc() -> None:
    """Show this namespace's own processes in /proc; other namespaces keep theirs."""
    libc.make_mounts_private()
    libc.mount_proc()


def _end_descendants() -> None:
    """Kill what is left below this process; orphans come to it, so that in the end there are no children."""
    while True:
        for pid in descendants(os.getpid()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return
