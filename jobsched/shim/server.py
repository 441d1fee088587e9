"""The shim itself: one run at a time, its deadline, and the end of everything it started."""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from typing import Final

from jobsched.shim import clearing, hugepages, messages, workspace
from jobsched.shim.alarm import Alarm
from jobsched.shim.child import Entry, Work, live
from jobsched.shim.descriptors import neutralise
from jobsched.shim.lease import Lease, LeaseEnded, lease_clock
from jobsched.shim.receipts import Receipts
from jobsched.shim.tree import Tree, reap_ended
from jobsched.shim.users import SlotUsers, User

_REAP_SECONDS: Final = 1.0
"""How often orphans that have ended are cleared away while a run goes on."""

_ENDING_TOO_SECONDS: Final = 0.1
"""How long processes that outlive the first one of a run may take to end before they count as left behind: the reader
of a pipe has yet to see its end, and a shell does not wait for it."""


class _Run:
    """The run in hand: its first process and how that ended."""

    def __init__(self, pid: int, deadline: float, folder: str | None, held: int | None) -> None:
        self.pid = pid
        self.deadline = deadline
        self.folder = folder
        self.held = held
        """The folder, opened: the work may rename it."""
        self.status: int | None = None
        self.killed = 0
        self.asked_to_end = False
        self.receipts = Receipts()
        # Its end wakes the loop. A SIGCHLD handler would too, but every run would have to shed it first.
        self.ended = os.pidfd_open(pid)

    def seen(self, pid: int, status: int) -> None:
        self.receipts.seen(pid, status)
        if pid == self.pid:
            self.status = status

    def seen_killed(self, pid: int, status: int) -> None:
        self.seen(pid, status)
        self.killed += os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


class Shim:
    """Serves its slot until the slot closes the socket or dies; then kills what is left and returns."""

    def __init__(
        self, sock: socket.socket, tree: Tree, work: Work, *, guard_gone: int, alarm: Alarm, users: SlotUsers | None
    ) -> None:
        self._sock = sock
        self._tree = tree
        self._work = work
        self._guard_gone = guard_gone
        self._alarm = alarm
        self._users = users
        self._lease = Lease()
        self._run: _Run | None = None
        self._over = False
        self._unused = True
        self._tidying: Iterator[None] | None = None

    def serve(self) -> None:
        self._prepare()
        while not self._over:
            ready = {number for number, _ in self._poller.poll(self._milliseconds_left())}
            if not ready and self._run is None:
                self._tidy()
            if self._guard_gone in ready or (self._sock.fileno() in ready and not self._obey()):
                break
            self._look_after_run()
        if self._run is not None:
            self._end(self._run)

    def _prepare(self) -> None:
        _forget_signals()
        # A service manager's stop reaches every process. The slot decides what it means for the run. Blocked and not
        # ignored, so that a run's process finds what it is sent before it can handle it.
        signal.pthread_sigmask(signal.SIG_SETMASK, (signal.SIGTERM,))
        mine = (self._sock.fileno(), self._guard_gone, self._alarm.descriptor)
        neutralise(mine)
        self._sock.setblocking(False)
        self._entry = Entry(mine=mine, users=self._users)
        self._poller = select.poll()
        self._poller.register(self._sock, select.POLLIN)
        self._poller.register(self._guard_gone, select.POLLIN)
        self._work.prepare()
        # Memory of the objects that exist now is shared with every run; a garbage collection in a run must not copy it.
        gc.collect()
        gc.freeze()

    def _tidy(self) -> None:
        """Do a small part of the tidying while there is no run: the next run must not wait for it."""
        if self._tidying is not None and next(self._tidying, self) is self:
            self._tidying = None

    def _milliseconds_left(self) -> float | None:
        if self._run is None:
            return None if self._tidying is None else 0.0
        left = max(0.0, self._run.deadline - lease_clock())
        return min(left, _REAP_SECONDS) * 1000 + 1

    def _obey(self) -> bool:
        """Follow the requests of the slot; return False when the slot is gone."""
        while True:
            try:
                received = messages.receive(self._sock)
            except BlockingIOError:
                return True
            if received is None:
                return False
            message, descriptors = received
            match message["do"]:
                case "run":
                    self._start(message["deadline"], message["workspace"], *descriptors)
                case "renew" if self._run is not None:
                    self._run.deadline = message["deadline"]
                    self._lease.end_at(message["deadline"])
                    self._alarm.set(message["deadline"])
                case "term" if self._run is not None:
                    self._run.asked_to_end = True
                    self._run.receipts.note(asked_to_end=True)
                    self._tree.signal_all(signal.SIGTERM)
                case "kill" if self._run is not None:
                    self._end(self._run)
                    self._report(self._run)

    def _start(self, deadline: float, folder: str | None, output: int, control: int, opened: int | None = None) -> None:
        """Fork the run's process. `opened` is the run's folder when it is to be given to the user of runs."""
        pid = -1
        held = _held(folder) if opened is None else opened
        self._lease.end_at(deadline)
        try:
            if self._users is not None:
                _give((output,) if held is None else (output, held), self._users.job)
            # The slot may have been frozen since its claim, and this process before it read the request.
            self._lease.check()
            pid = os.fork()
        except LeaseEnded:
            self._refuse({"lease_ended": True}, folder, held)
            return
        except OSError as error:
            self._refuse({"not_started": error.strerror}, folder, held)
            return
        finally:
            if pid != 0:
                os.close(output)
                os.close(control)
        if pid == 0:
            if held is not None:
                os.close(held)
            live(self._entry, output, control, folder, self._work, self._lease)
        self._alarm.set(deadline)
        if self._unused:  # one that is never used is left small: slots with trusted callables only have such
            self._unused = False
            self._tidying = hugepages.gathering()
        self._run = _Run(pid, deadline, folder, held)
        self._poller.register(self._run.ended, select.POLLIN)

    def _refuse(self, answer: dict[str, object], folder: str | None, held: int | None) -> None:
        """Report that no process was started for the run."""
        if folder is not None:
            clearing.remove_run(folder, self._users, held=held)
        self._tell(answer)

    def _look_after_run(self) -> None:
        run = self._run
        if run is None:
            return
        some_live = reap_ended(run.seen)
        overdue = run.status is None and lease_clock() >= run.deadline
        if run.status is not None or overdue:
            if some_live and not overdue and not run.asked_to_end:
                some_live = _some_live_after_a_moment(run)
            self._end(run, some_live=some_live)
            self._report(run, lease_ran_out=overdue)

    def _end(self, run: _Run, *, some_live: bool = True) -> None:
        if some_live:
            run.receipts.note()
        self._tree.kill_all(run.seen_killed)
        self._alarm.clear()
        if run.folder is not None:
            # Removing a large folder takes long; without this message the slot would take that for a failure to kill.
            self._tell({"dead": True})
            clearing.remove_run(run.folder, self._users, held=run.held)

    def _report(self, run: _Run, *, lease_ran_out: bool = False) -> None:
        self._run = None
        self._poller.unregister(run.ended)
        os.close(run.ended)
        processes = run.receipts.entries()
        self._tell({"ended": run.status, "killed": run.killed, "lease_ran_out": lease_ran_out, "processes": processes})

    def _tell(self, message: dict[str, object]) -> None:
        try:
            messages.send(self._sock, message)
        except OSError:  # the slot is gone
            self._over = True


def _held(folder: str | None) -> int | None:
    try:
        return None if folder is None else workspace.hold(folder)
    except OSError:  # no descriptor is left, or the folder is gone: it is then removed by its name
        return None


def _give(descriptors: tuple[int, ...], user: User) -> None:
    """Let a run open its output again, as /dev/stderr, and use its folder."""
    for number in descriptors:
        os.fchown(number, user.uid, user.gid)


def _some_live_after_a_moment(run: _Run) -> bool:
    """Return whether processes are left, after waiting a moment for those that are about to end."""
    until = min(lease_clock() + _ENDING_TOO_SECONDS, run.deadline)
    while some_live := reap_ended(run.seen):
        if lease_clock() >= until:
            break
        time.sleep(_ENDING_TOO_SECONDS / 50)
    return some_live


def _forget_signals() -> None:
    """Drop the handlers and the mask of the program we were forked from."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(number) not in (signal.SIG_DFL, None):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
