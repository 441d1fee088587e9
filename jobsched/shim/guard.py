"""The guard: the process above a shim, which clears up when slot or shim cannot.

It acts when the slot was killed, when the shim does not answer (because it was stopped, for example), and
when both are frozen while the lease of their run ends.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jobsched.domain.errors import Unavailable
from jobsched.shim import capabilities, clearing, job_users, libc, messages
from jobsched.shim.alarm import Alarm
from jobsched.shim.capabilities import Capability
from jobsched.shim.child import Work
from jobsched.shim.covering import cover
from jobsched.shim.descriptors import neutralise
from jobsched.shim.isolation import Isolation, enter
from jobsched.shim.killing import kill_processes_of
from jobsched.shim.protection import View
from jobsched.shim.server import Shim
from jobsched.shim.tree import NamespaceTree, SubreaperTree, Tree
from jobsched.shim.users import SlotUsers, User

_log: Final = logging.getLogger(__name__)
_PATIENCE_SECONDS: Final = 2.0
"""How long the shim may take to end its run by itself once its slot has ended. The lease is longer."""
_NEEDED: Final = (Capability.CHOWN, Capability.KILL, Capability.SETGID, Capability.SETUID)


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """The request of a slot for a shim. The process that holds it closes the descriptors."""

    isolation: Isolation
    sock: socket.socket
    """The shim's end of its conversation with the slot."""
    slot: int
    """A pidfd of the slot."""
    release: int
    """The read end of a pipe, into which the slot writes when the shim is to end."""
    folder: str | None
    """The slot's folder, in which its runs have theirs."""
    covered: tuple[str, ...]
    """Folders and files that runs must not open; they are covered where a mount namespace is possible."""

    @property
    def descriptors(self) -> tuple[int, ...]:
        return (self.sock.fileno(), self.slot, self.release)


@dataclass(frozen=True, kw_only=True, slots=True)
class JobUsers:
    """The users that a slot's shim may take: the user of the slot itself, and those for runs."""

    service: User
    uids: range
    locks: Path
    """The folder for locks of these users that all workers with the same workspaces share."""


def guard(order: Order, work: Work, users: JobUsers | None) -> None:
    """Take a job user, enter the isolation, fork the shim into it, and clear up after it. To be called after a fork.

    The first packet on the slot's socket has the numbers of both processes, or says why there is no shim.
    """
    os.setsid()
    libc.set_dumpable(False)
    # Ctrl-C and the stop of a service manager reach every process of the worker. The slot decides what they mean.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        Guard(order, work, users).serve()
    except Unavailable as error:
        messages.send(order.sock, {"failed": str(error)})
    except OSError as error:
        messages.send(order.sock, {"failed": f"{order.isolation} is not allowed here ({error})"})


class Guard:
    """Watches slot and shim from the shim's start to its end."""

    def __init__(self, order: Order, work: Work, users: JobUsers | None) -> None:
        self._order = order
        self._work = work
        self._locks: tuple[int, ...] = ()
        self._users: SlotUsers | None = None
        if users is not None:
            taken = job_users.take(users.uids, shared=users.locks, service=users.service)
            self._locks = taken.locks
            self._users = SlotUsers(service=users.service, job=taken.user)
        self._alarm = Alarm()
        self._in_namespace = order.isolation is not Isolation.SUBREAPER

    def serve(self) -> None:
        """Start the shim, wait for its end, and clear up. Raises OSError when the isolation is not allowed."""
        if self._users is not None:
            os.setgroups([])
            # A guard that was killed may have left some behind.
            kill_processes_of(self._users.job)
        enter(self._order.isolation)
        # The shim sees the end of this pipe when the guard is gone.
        guard_gone, here = os.pipe2(os.O_CLOEXEC)
        seen, viewed = os.pipe2(os.O_CLOEXEC)
        shim = os.fork()
        if shim == 0:
            os.close(here)
            self._become_shim(guard_gone, viewed)
            return
        os.close(viewed)
        messages.send(self._order.sock, self._hello(shim, os.read(seen, 2)))
        ended = os.pidfd_open(shim)
        self._order.sock.close()
        neutralise({self._order.slot, self._order.release, self._alarm.descriptor, *self._locks, here, ended})
        capabilities.keep_only(*_NEEDED)
        killed = not self._ended_by_itself(ended)
        if killed:
            # In a namespace this ends its run, too. Elsewhere the run becomes a child of this process.
            os.kill(shim, signal.SIGKILL)
        os.waitpid(shim, 0)
        self._clear_up(killed=killed)

    def _hello(self, shim: int, view: bytes) -> dict[str, object]:
        """`view` is what the shim wrote, or empty when it has ended."""
        own_proc, covered = (character == ord("1") for character in view.ljust(2, b"0"))
        return {"pid": shim, "guard": os.getpid(), "own_proc": own_proc, "covered": covered}

    def _become_shim(self, guard_gone: int, viewed: int) -> None:
        tree: Tree
        view = View(own_proc=False, covered=False)
        if self._in_namespace:
            libc.die_with_parent(signal.SIGKILL)
            tree = NamespaceTree()
            view = _make_own_view(self._order)
        else:
            libc.become_subreaper()
            tree = self._tree()
        os.write(viewed, b"%d%d" % (view.own_proc, view.covered))
        # Runs inherit this, and rely on it.
        capabilities.empty_bounding_set()
        capabilities.keep_only(*_NEEDED)
        libc.set_no_new_privileges()
        Shim(self._order.sock, tree, self._work, guard_gone=guard_gone, alarm=self._alarm, users=self._users).serve()

    def _ended_by_itself(self, ended: int) -> bool:
        """Wait for the end of the shim. Return False when it must be killed."""
        poller = select.poll()
        calls = {self._order.slot, self._order.release}
        for number in (ended, self._alarm.descriptor, *calls):
            poller.register(number, select.POLLIN)
        give_up_at = float("inf")
        while time.monotonic() < give_up_at:
            left = None if give_up_at == float("inf") else (give_up_at - time.monotonic()) * 1000 + 1
            ready = {number for number, _ in poller.poll(left)}
            if ended in ready:
                return True
            if self._alarm.descriptor in ready:
                return False
            if ready & calls:
                give_up_at = time.monotonic() + _PATIENCE_SECONDS
                for number in calls:
                    poller.unregister(number)
                calls = set()
        return False

    def _clear_up(self, *, killed: bool) -> None:
        if not self._in_namespace:
            self._tree().kill_all(lambda _pid, _status: None)
        if self._order.folder is not None and killed:
            clearing.clear_runs(self._order.folder, self._users)
        if self._order.folder is not None and _has_ended(self._order.slot):
            clearing.clear_slot(self._order.folder, self._users)

    def _tree(self) -> SubreaperTree:
        return SubreaperTree(self._users.job if self._users is not None else None)


def _has_ended(pidfd: int) -> bool:
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(0))


def _make_own_view(order: Order) -> View:
    """Show runs their own processes and workspaces only, as far as that is allowed here."""
    try:
        libc.unshare_mounts()
    except OSError as error:
        _log.debug("no mount namespace for runs: %s", error)
        return View(own_proc=False, covered=False)
    # Containers with a masked /proc forbid the first. Runs then see other processes, but cannot touch them.
    return View(own_proc=_succeeds(libc.mount_proc), covered=_succeeds(lambda: cover(order.covered, but=order.folder)))


def _succeeds(change: Callable[[], None]) -> bool:
    try:
        change()
    except OSError as error:
        _log.debug("refused in the mount namespace for runs: %s", error)
        return False
    return True
