"""Start a shim, and end it."""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import traceback
from dataclasses import dataclass
from typing import Final

from jobsched.domain.errors import Unavailable
from jobsched.shim import libc, messages
from jobsched.shim.child import Work
from jobsched.shim.descriptors import neutralise
from jobsched.shim.isolation import Isolation, candidates, enter
from jobsched.shim.server import Shim
from jobsched.shim.tree import NamespaceTree, SubreaperTree, Tree

_log: Final = logging.getLogger(__name__)
_START_SECONDS: Final = 30.0
_EXIT_SECONDS: Final = 5.0
_logged: set[Isolation] = set()


@dataclass(frozen=True, kw_only=True, slots=True)
class Handle:
    """A running shim, as its slot sees it. `pid` is the shim's, `guard` that of the process above it."""

    sock: socket.socket
    pid: int
    guard: int
    isolation: Isolation

    def end(self) -> None:
        """Let the shim kill what is left and exit; kill it when that takes too long."""
        self.sock.close()
        if not _ended_within(self.guard, _EXIT_SECONDS):
            for pid in (self.pid, self.guard):
                _kill(pid)
        _reap(self.guard)


def launch(work: Work) -> Handle:
    """Fork a shim in the best isolation that JOBSCHED_ISOLATION and this machine allow.

    Raises `Unavailable` when none works, `InvalidInput` for an unknown value.
    """
    problem = ""
    for isolation in candidates(os.environ.get("JOBSCHED_ISOLATION", "auto")):
        try:
            handle = _launch(isolation, work)
        except Unavailable as error:
            problem = str(error)
            continue
        if isolation not in _logged:
            _logged.add(isolation)
            _log.info("runs are kept together by: %s", isolation)
        return handle
    raise Unavailable(f"no process can be started for runs here: {problem}; try JOBSCHED_ISOLATION=subreaper")


def _launch(isolation: Isolation, work: Work) -> Handle:
    libc.set_dumpable(False)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    slot = os.getpid()
    guard = os.fork()
    if guard == 0:
        try:
            _guard(isolation, slot, theirs, work)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    theirs.close()
    ours.settimeout(_START_SECONDS)
    try:
        received = messages.receive(ours)
    except TimeoutError:
        received = None
    hello = received[0] if received else {}
    if "pid" not in hello:
        ours.close()
        _kill(guard)
        _reap(guard)
        raise Unavailable(hello.get("failed", f"the guard process for {isolation} ended at once"))
    ours.setblocking(False)
    return Handle(sock=ours, pid=hello["pid"], guard=guard, isolation=isolation)


def _guard(isolation: Isolation, slot: int, sock: socket.socket, work: Work) -> None:
    """Enter the isolation, fork the shim into it, and outlive it to clear up what it may leave."""
    os.setsid()
    in_namespace = isolation is not Isolation.SUBREAPER
    # Killing PID 1 ends its whole namespace. A subreaper has to do that work itself, so it is only told.
    on_death = signal.SIGKILL if in_namespace else signal.SIGTERM
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        enter(isolation)
        libc.die_with_parent(on_death)
        if os.getppid() != slot:
            return
        shim = os.fork()
    except OSError as error:
        messages.send(sock, {"failed": f"{isolation} is not allowed here ({error})"})
        return
    if shim == 0:
        _become_shim(sock, work, on_death, in_namespace=in_namespace)
        return
    messages.send(sock, {"pid": shim})
    sock.close()
    neutralise(())
    os.waitpid(shim, 0)
    if not in_namespace:
        SubreaperTree().kill_all(lambda _pid, _status: None)


def _become_shim(sock: socket.socket, work: Work, on_death: signal.Signals, *, in_namespace: bool) -> None:
    tree: Tree
    if in_namespace:
        tree = NamespaceTree()
        try:
            libc.mount_own_proc()
        except OSError as error:
            # Containers with a masked /proc forbid it. The run then sees other processes but cannot touch them.
            _log.debug("no /proc of its own for the runs: %s", error)
    else:
        tree = SubreaperTree()
        libc.become_subreaper()
    libc.die_with_parent(on_death)
    Shim(sock, tree, work, tie=not in_namespace).serve()


def _ended_within(pid: int, seconds: float) -> bool:
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poller = select.poll()
        poller.register(watched, select.POLLIN)
        return bool(poller.poll(seconds * 1000))
    finally:
        os.close(watched)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:  # somebody ignores SIGCHLD here, so the kernel has reaped it
        return
