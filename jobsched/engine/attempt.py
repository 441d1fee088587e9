"""One attempt under supervision: output, heartbeats, limits, and the judgement at its end.

Start at `supervise`: wait, read messages of the run, its output and messages of the shim, then look at the clock.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from jobsched.domain.errors import Unavailable
from jobsched.domain.outcomes import Assignment, Ended, Outcome, Report, Verdict
from jobsched.domain.signals import signal_name
from jobsched.engine import reasons
from jobsched.engine.clip import KIB
from jobsched.engine.listener import Garbled, Listener
from jobsched.engine.memory import MemoryKills
from jobsched.engine.printed import Printed
from jobsched.engine.sections import Sections
from jobsched.engine.watch import Watch
from jobsched.shim import messages
from jobsched.shim.lease import lease_clock

_READ: Final = 64 * KIB
_READS_A_TURN: Final = 16
"""A flood must not keep the loop from its heartbeats."""
_FLUSH_SECONDS: Final = 0.5
_RETRY_SECONDS: Final = 1.0
"""The longest pause between the beginnings of two tries to renew the lease while the database cannot be reached."""
_RETRIES_A_HEARTBEAT: Final = 5
"""Short leases leave less time for an outage, so their renewals are tried more often."""
_KILL_SECONDS: Final = 10.0
"""How long the shim may take to report after it had to kill the run, on request or by the lease."""
_NUDGE_SECONDS: Final = 0.5
"""How often the watch is asked whether there is reason to hurry."""


class ShimDied(Exception):
    """The shim is gone, or does not answer; its processes are to be taken down with it."""


class Attempt:
    """Supervises from `start` to the shim's report that nothing is left."""

    def __init__(self, assignment: Assignment, watch: Watch, *, deadline: float, memory: MemoryKills) -> None:
        self._work = assignment
        self._watch = watch
        self._memory = memory
        self._memory_kills = memory.count()
        self._deadline = deadline
        self._heartbeat_failed = False
        self._printed = Printed(limit=watch.output_limit)
        self._sections = Sections()
        self._output = -1
        self._outcome: Outcome | None = None
        self._replaced_process = False
        self._garbled = False
        self._lost = ""
        self._ending: Verdict | None = None
        self._killed_after_grace = False
        self._kill_at = float("inf")
        self._give_up_at = float("inf")
        self._end: dict[str, Any] | None = None
        self._flush_failed = False

    # -- beginning and end ---------------------------------------------------------------------------------

    def start(self, shim: socket.socket, folder: Path | None, *, give_folder: bool = False) -> None:
        """Give the work to the shim. Raises OSError when the shim is gone or no descriptor is left.

        It may then be called again.

        With `give_folder`, the shim makes the user of the run the owner of the folder.
        """
        self.close()
        self._shim = shim
        ours, theirs = socket.socketpair()
        self._run = Listener(ours)
        self._output, output = os.pipe()
        os.set_blocking(self._output, False)
        try:
            request = {"do": "run", "deadline": self._deadline, "workspace": str(folder) if folder else None}
            with _opened(folder if give_folder else None) as given:
                messages.send(shim, request, (output, theirs.fileno(), *given))
        finally:
            os.close(output)
            theirs.close()
        self._run.say(self._work.to_json())
        now = lease_clock()
        limit = self._work.limit_seconds
        self._limit_at = float("inf") if limit is None else now + limit
        self._beat_at = max(now, self._next_beat())
        self._flush_at = now + _FLUSH_SECONDS

    def close(self) -> None:
        """Let go of the descriptors."""
        if self._output >= 0:
            os.close(self._output)
            self._run.sock.close()
            self._output = -1

    def supervise(self) -> Report:
        """Return when the shim reports that nothing of the attempt is left.

        Raises `ShimDied`, and `Unavailable` when no process could be started for the work.
        """
        poller = select.poll()
        for source in (self._shim, self._run.sock, self._output):
            poller.register(source, select.POLLIN)
        run, shim = self._run.sock.fileno(), self._shim.fileno()
        waits = False
        while self._end is None:
            if waits and not self._printed.is_full:
                poller.register(self._output, select.POLLIN)
                waits = False
            if self._run.wants_to_send:
                poller.modify(run, select.POLLIN | select.POLLOUT)
            ready = {number for number, _ in poller.poll(self._milliseconds_left())}
            if run in ready:
                self._read_run()
                if self._run.ended:
                    poller.unregister(run)
                elif not self._run.wants_to_send:
                    poller.modify(run, select.POLLIN)
            if self._output in ready:
                more = self._read_output(_READS_A_TURN * _READ, until_full=True)
                waits = more and self._printed.is_full  # in the pipe, until output is passed on again
                if waits or not more:
                    poller.unregister(self._output)
            if shim in ready:
                self._read_shim()
            self._look_at_clock()
        self._take_the_rest()
        return self._report(self._judge(self._end))

    def report_of_shim_death(self) -> Report:
        """Report an attempt whose shim is gone, once its processes are gone too."""
        self._take_the_rest()
        if self._was_not_started:
            return self._report(Outcome(verdict=Verdict.HANDED_BACK, reason=reasons.NOT_STARTED_IN_TIME))
        return self._report(Outcome(verdict=Verdict.LOST, reason=self._lost or reasons.SHIM_DIED))

    # -- messages and output ------------------------------------------------------------------------------

    def _read_run(self) -> bool:
        """Handle the messages of the run; return False when it will send no more."""
        self._run.push()
        try:
            received = self._run.messages()
            for message in received or ():
                self._handle(message)
        except (Garbled, KeyError, TypeError, ValueError):
            self._garbled = self._run.ended = True
            self._send_shim("kill")
            return False
        return received is not None

    def _handle(self, message: dict[str, Any]) -> None:
        match message:
            case {"plan": list() as names}:
                self._sections.plan(names)
            case {"begin": str() as name}:
                self._read_output(self._waiting_bytes())
                self._sections.begin(name)
                self._run.say({"go": True})
            case {"end": dict() as ended}:
                self._read_output(self._waiting_bytes())
                self._sections.end(ended)
                self._run.say({"go": True})
            case {"exec": True}:
                self._replaced_process = True
            case {"outcome": dict() as outcome}:
                self._outcome = Outcome.from_json(outcome)
            case _:
                raise Garbled

    def _read_output(self, most: int, *, until_full: bool = False) -> bool:
        """Read up to `most` bytes of what is there; return False at the end of the output.

        With `until_full`, read no more once too much waits to be passed on.
        """
        while most > 0 and not (until_full and self._printed.is_full):
            try:
                chunk = os.read(self._output, min(_READ, most))
            except BlockingIOError:
                return True
            if not chunk:
                return False
            most -= len(chunk)
            self._printed.add(chunk)
            self._sections.add(chunk)
        return True

    def _waiting_bytes(self) -> int:
        (waiting,) = struct.unpack("i", fcntl.ioctl(self._output, termios.FIONREAD, b"\0\0\0\0"))
        return int(waiting)

    def _read_shim(self) -> None:
        try:
            received = messages.receive(self._shim)
        except BlockingIOError:
            return
        if received is None:
            raise ShimDied
        message, _ = received
        if "dead" in message:
            self._give_up_at = float("inf")
        else:
            self._end = message

    def _take_the_rest(self) -> None:
        """Read what was sent and written before the end. Do not wait for processes that still hold the pipe open."""
        while not self._run.ended and self._read_run():
            pass
        self._read_output(self._waiting_bytes())

    # -- the clock -----------------------------------------------------------------------------------------

    def _milliseconds_left(self) -> float:
        moments = [self._beat_at, self._deadline, self._give_up_at, self._kill_at]
        if self._may_end_early:
            moments.append(self._limit_at)
        if self._printed.is_unsaved:
            moments.append(self._flush_at)
        return min(max(0.0, min(moments) - lease_clock()), _NUDGE_SECONDS) * 1000 + 1

    @property
    def _may_end_early(self) -> bool:
        """Work that has sent its outcome, or is being ended already, is not ended for another reason."""
        return self._outcome is None and self._ending is None and not self._lost and self._end is None

    def _look_at_clock(self) -> None:
        now = lease_clock()
        if self._watch.nudged():
            self._beat_at = min(self._beat_at, now)
        if now >= self._give_up_at:
            raise ShimDied
        if now >= self._deadline:
            self._lose(reasons.LEASE_RAN_OUT)
        if now >= self._limit_at and self._may_end_early:
            self._end_early(Verdict.TIMED_OUT)
        if self._may_end_early and self._watch.stopping():
            self._end_early(Verdict.HANDED_BACK)
        if now >= self._kill_at:
            self._killed_after_grace = True
            self._kill()
        if now >= self._beat_at:
            self._beat()
        if now >= self._flush_at or (self._printed.is_piece_ready and not self._flush_failed):
            self._flush()

    def _beat(self) -> None:
        began = lease_clock()
        try:
            pulse = self._watch.heartbeat()
        except Unavailable:
            # The first failure may be that of an old connection only: the next try opens a new one.
            self._beat_at = began + self._retry_seconds if self._heartbeat_failed else began
            self._heartbeat_failed = True
            return
        self._heartbeat_failed = False
        if pulse.lost:
            self._lose(reasons.LEASE_LOST)
            return
        self._deadline = pulse.deadline
        self._beat_at = max(lease_clock() + self._retry_seconds, self._next_beat())
        self._send_shim("renew", deadline=pulse.deadline)
        if self._may_end_early and pulse.cancel_requested:
            self._end_early(Verdict.CANCELLED)

    @property
    def _retry_seconds(self) -> float:
        return min(_RETRY_SECONDS, self._watch.heartbeat_seconds / _RETRIES_A_HEARTBEAT)

    def _next_beat(self) -> float:
        """Return when to renew the lease next, counted from when its present renewal, or the claim, was sent.

        That may be a while ago: the machine was busy since the claim, or another slot renewed the lease.
        """
        sent = self._deadline - self._watch.lease_seconds
        return sent + min(self._watch.heartbeat_seconds, self._watch.lease_seconds / 2)

    def _flush(self) -> None:
        self._flush_failed = False
        if self._printed.is_unsaved:
            part = self._printed.next_part()
            try:
                self._watch.flush(part)
                self._printed.saved(part)
            except Unavailable:  # offered again next time
                self._flush_failed = True
        self._flush_at = lease_clock() + _FLUSH_SECONDS

    # -- ending --------------------------------------------------------------------------------------------

    def _end_early(self, verdict: Verdict) -> None:
        self._ending = verdict
        # Before the signal, so that the work finds the reason when the signal makes it look.
        self._run.say({"ending": verdict})
        self._send_shim("term")
        self._kill_at = lease_clock() + self._work.grace_seconds

    def _lose(self, reason: str) -> None:
        self._lost = self._lost or reason
        self._deadline = self._beat_at = float("inf")
        self._kill()

    def _kill(self) -> None:
        self._kill_at = float("inf")
        self._give_up_at = min(self._give_up_at, lease_clock() + _KILL_SECONDS)
        self._send_shim("kill")

    def _send_shim(self, order: str, **details: float) -> None:
        try:
            messages.send(self._shim, {"do": order, **details})
        except OSError as error:
            if self._end is None:
                raise ShimDied from error

    def _judge(self, end: dict[str, Any]) -> Outcome:
        if "not_started" in end:
            raise Unavailable(f"no process could be started for the run: {end['not_started']}")
        if "lease_ended" in end:
            return Outcome(verdict=Verdict.HANDED_BACK, reason=reasons.NOT_STARTED_IN_TIME)
        if self._outcome is not None and self._was_not_started:
            return self._outcome
        if self._lost or end["lease_ran_out"]:
            return Outcome(verdict=Verdict.LOST, reason=self._lost or reasons.LEASE_RAN_OUT)
        if self._garbled:
            return Outcome(verdict=Verdict.FAILED, reason=reasons.TOO_MUCH_SAID)
        seen = self._outcome or reasons.from_wait_status(end["ended"], exit_code_counts=self._replaced_process)
        if self._ending is None:
            return self._with_circumstances(seen, end)
        grace = self._work.grace_seconds if self._killed_after_grace else None
        why = reasons.why_ending(self._ending, self._work)
        reason = reasons.how_ended(why, killed_after_seconds=grace)
        return replace(seen, verdict=self._ending, reason=reason)

    @property
    def _was_not_started(self) -> bool:
        """The run's process found before it started the work that the lease had ended, or that it has no folder."""
        return self._outcome is not None and self._outcome.verdict is Verdict.HANDED_BACK

    def _with_circumstances(self, seen: Outcome, end: dict[str, Any]) -> Outcome:
        """Add to the outcome of work that ended by itself what the kernel and the shim know of its end."""
        known = seen
        if reasons.may_be_out_of_memory(seen):  # else the counter is not read: most runs end otherwise
            known = reasons.out_of_memory(seen, self._memory.since(self._memory_kills))
        killed = [process["name"] for process in end["processes"] if process["ended"] == signal_name(signal.SIGKILL)]
        return reasons.left_running(known, killed=end["killed"], names=killed, rule=self._work.background)

    def _report(self, outcome: Outcome) -> Report:
        self._sections.close(outcome.verdict)
        return Report(
            outcome=outcome,
            output=self._printed.shown(),
            output_total=self._printed.total,
            output_rest=self._printed.rest(),
            sections=self._sections.all(),
            killed=(self._end or {}).get("killed", 0),
            processes=tuple(Ended(**process) for process in (self._end or {}).get("processes", ())),
        )


@contextmanager
def _opened(folder: Path | None) -> Iterator[tuple[int, ...]]:
    if folder is None:
        yield ()
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield (descriptor,)
    finally:
        os.close(descriptor)
