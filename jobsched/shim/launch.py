"""Start a shim, and end it."""

from __future__ import annotations

import os
import select
import signal
import socket
import traceback
from dataclasses import dataclass
from typing import Final, Protocol

from jobsched.domain.errors import Unavailable
from jobsched.shim import libc, messages
from jobsched.shim.child import Work
from jobsched.shim.guard import Order, guard
from jobsched.shim.isolation import Isolation, candidates
from jobsched.shim.launcher import LauncherEnded
from jobsched.shim.protection import View

_START_SECONDS: Final = 30.0
_EXIT_SECONDS: Final = 5.0
_RELEASE_SECONDS: Final = 10.0


class Starter(Protocol):
    """Starts a guard, and with it a shim."""

    job_users: bool
    """Runs get a user of their own."""

    def start(self, order: Order) -> None:
        """Start a guard for the order. Raises `Unavailable` when the launcher has ended, or OSError."""

    def forget(self) -> None:
        """Clear up after the last guard, which could not start a shim."""


class Forking:
    """Forks guards from the slot itself: they, and all runs, have its user."""

    job_users = False

    def __init__(self, work: Work) -> None:
        self._work = work
        self._guard = -1

    def start(self, order: Order) -> None:
        """Fork a guard."""
        self._guard = os.fork()
        if self._guard == 0:
            try:
                guard(order, self._work, None)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)

    def forget(self) -> None:
        """End and reap a guard without a shim."""
        _kill(self._guard)
        _reap(self._guard)


@dataclass(frozen=True, kw_only=True, slots=True)
class Hello:
    """The first message of a guard whose shim has started."""

    pid: int
    """The shim's."""
    guard: int
    view: View


class Handle:
    """A running shim, as its slot sees it. `pid` is the shim's, `guard` that of the process above it."""

    def __init__(self, sock: socket.socket, release: int, isolation: Isolation, hello: Hello) -> None:
        self.sock = sock
        self.isolation = isolation
        self.pid = hello.pid
        self.guard = hello.guard
        self.view = hello.view
        self._release = release
        self._ended = os.pidfd_open(hello.guard)

    def end(self) -> None:
        """Let the shim kill what is left and exit. If it does not, its guard kills it; both are gone afterwards."""
        self.sock.close()
        if not self._guard_ended_within(_EXIT_SECONDS):
            os.write(self._release, b".")
            if not self._guard_ended_within(_RELEASE_SECONDS):
                for pid in (self.pid, self.guard):
                    _kill(pid)
        os.close(self._release)
        os.close(self._ended)
        _reap(self.guard)

    def _guard_ended_within(self, seconds: float) -> bool:
        poller = select.poll()
        poller.register(self._ended, select.POLLIN)
        return bool(poller.poll(seconds * 1000))


def launch(starter: Starter, *, folder: str | None, covered: tuple[str, ...] = ()) -> Handle:
    """Start a shim in the best isolation that JOBSCHED_ISOLATION and this machine allow.

    `folder` is the slot's folder, which holds those of its runs. `covered` are folders and files that runs must not
    open; they are covered where a mount namespace is possible. Raises `Unavailable` when no isolation works,
    `InvalidInput` for an unknown value.
    """
    libc.set_dumpable(False)
    problem = ""
    for isolation in candidates(os.environ.get("JOBSCHED_ISOLATION", "auto"), job_users=starter.job_users):
        try:
            handle = _launch(starter, isolation, folder, covered)
        except LauncherEnded:
            raise
        except Unavailable as error:
            problem = str(error)
            continue
        return handle
    raise Unavailable(f"no process can be started for runs here: {problem}; try JOBSCHED_ISOLATION=subreaper")


def _launch(starter: Starter, isolation: Isolation, folder: str | None, covered: tuple[str, ...]) -> Handle:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    slot = os.pidfd_open(os.getpid())
    try:
        order = Order(isolation=isolation, sock=theirs, slot=slot, release=read_end, folder=folder, covered=covered)
        starter.start(order)
        theirs.close()
        try:
            hello = _hello(ours, isolation)
        except Unavailable:
            starter.forget()
            raise
        ours.setblocking(False)
        return Handle(ours, write_end, isolation, hello)
    except BaseException:
        ours.close()
        os.close(write_end)
        raise
    finally:
        theirs.close()
        os.close(read_end)
        os.close(slot)


def _hello(sock: socket.socket, isolation: Isolation) -> Hello:
    """Wait for the first packet of a guard. Raises `Unavailable` when it could not start a shim."""
    sock.settimeout(_START_SECONDS)
    try:
        received = messages.receive(sock)
    except TimeoutError:
        raise Unavailable(f"the guard process for {isolation} did not start a shim in {_START_SECONDS:g} s") from None
    message = received[0] if received else {}
    if "pid" not in message:
        raise Unavailable(message.get("failed", f"the guard process for {isolation} ended at once"))
    view = View(own_proc=message["own_proc"], covered=message["covered"])
    return Hello(pid=message["pid"], guard=message["guard"], view=view)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:  # the launcher's child, or reaped by the kernel because somebody ignores SIGCHLD here
        return
