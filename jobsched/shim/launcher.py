"""The launcher: keeps the rights of root when a worker gives them up, and does nothing but start guards with them.

    launcher (root) ── guard ── shim ── the run's process (its slot's job user) ── whatever that starts
    Celery parent (service user) ── slots (service user)

A slot sends an order with three descriptors over a socket that it has inherited. Runs and what they start do not have
that socket. The launcher ends when the Celery parent and all of its slots have ended.
"""

from __future__ import annotations

import os
import signal
import socket
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from jobsched.domain.errors import Unavailable
from jobsched.shim import capabilities, clearing, libc, messages
from jobsched.shim.capabilities import Capability
from jobsched.shim.child import Work
from jobsched.shim.descriptors import neutralise
from jobsched.shim.guard import JobUsers, Order, guard
from jobsched.shim.isolation import Isolation

_KEPT: Final = (
    *(Capability.CHOWN, Capability.KILL, Capability.SETGID, Capability.SETUID),
    # For namespaces, where the worker has these; a guard gives them up once its shim is in one.
    *(Capability.SYS_ADMIN, Capability.SETPCAP),
)


class LauncherEnded(Unavailable):
    """The launcher was killed. Its worker has no rights to start another, so it must be restarted."""


class Launcher:
    """The slots' connection to the launcher: a `Starter` whose runs get users of their own."""

    job_users = True

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def start(self, order: Order) -> None:
        """Send an order. Raises `LauncherEnded`."""
        message = {"isolation": order.isolation, "folder": order.folder, "covered": order.covered}
        try:
            messages.send(self._sock, message, order.descriptors)
        except OSError as error:
            raise LauncherEnded("the launcher of this worker has ended; restart the worker") from error

    def forget(self) -> None:
        """Do nothing: the kernel reaps the children of the launcher."""


def start_launcher(work: Work, users: JobUsers, *, prepare: Callable[[], None], workspaces: str) -> Launcher:
    """Fork the launcher and return the connection to it. Call this as root, when all modules that runs need are loaded.

    `prepare` is called once in the launcher. What workers that were killed left in the folder `workspaces` is removed.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        try:
            ours.close()
            _serve(theirs, work, users, prepare, workspaces)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    theirs.close()
    return Launcher(ours)


def _serve(sock: socket.socket, work: Work, users: JobUsers, prepare: Callable[[], None], workspaces: str) -> None:
    os.setsid()
    libc.set_dumpable(False)
    # A service manager's stop reaches this process, too. Slots need it until they have ended.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # The kernel reaps the guards.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    neutralise((sock.fileno(),))
    os.setgroups([])
    capabilities.keep_only(*_KEPT)
    prepare()
    _in_child(lambda: clearing.sweep(workspaces, users.service))
    while (received := messages.receive(sock)) is not None:
        message, descriptors = received
        _fork_guard(message, descriptors, work, users)


def _in_child(work: Callable[[], None]) -> None:
    """Call `work` in a child process: slots wait for the launcher, so it must not take long itself."""
    if os.fork() == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)


def _fork_guard(message: dict[str, Any], descriptors: list[int], work: Work, users: JobUsers) -> None:
    sock = socket.socket(fileno=descriptors[0])
    try:
        order = Order(
            isolation=Isolation(message["isolation"]),
            sock=sock,
            slot=descriptors[1],
            release=descriptors[2],
            folder=message["folder"],
            covered=tuple(message["covered"]),
        )
        _in_child(lambda: guard(order, work, users))
    except OSError as error:
        with suppress(OSError):  # the slot has ended meanwhile: other slots still need this process
            messages.send(sock, {"failed": f"no process can be started: {error.strerror}"})
    finally:
        sock.close()
        for number in descriptors[1:]:
            os.close(number)
