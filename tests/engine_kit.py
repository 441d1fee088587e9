"""What the tests of the engine share: assignments, a watch that can be told what to answer, and a look at /proc."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobsched.domain.errors import Unavailable
from jobsched.domain.outcomes import Assignment, Part, Report, Verdict
from jobsched.engine import Pulse
from jobsched.shim.lease import lease_clock

LEASE_SECONDS = 60.0
_run_ids = itertools.count(1)
_markers = itertools.count(1)


def assignment(kind: str, spec: dict[str, Any], **details: Any) -> Assignment:
    return Assignment(run_id=next(_run_ids), attempt=1, project="default", job="probe", kind=kind, spec=spec, **details)


def shell(command: str, **details: Any) -> Assignment:
    return assignment("shell", {"command": command}, **details)


def with_longer_times(perform: Callable[[float], Report]) -> Report:
    """Return the first report of a success, or the last report.

    `perform` multiplies all its times with the factor that it is given. On a busy machine a process may start or a
    renewal may arrive later than short times allow; what never works fails with each factor.
    """
    for factor in (1.0, 4.0, 12.0):
        report = perform(factor)
        if report.outcome.verdict is Verdict.SUCCEEDED:
            break
    return report


def call(name: str, **details: Any) -> Assignment:
    return assignment("python", {"call": f"tests.conformance.executors.callables:{name}"}, **details)


@dataclass
class ScriptedWatch:
    """Answers heartbeats; `answer` may be changed while a run goes on, also by `on_flush`."""

    heartbeat_seconds: float = 0.05
    output_limit: int = 64 * 1024 * 1024
    answer: dict[str, Any] = field(default_factory=dict)
    lease_seconds: float = LEASE_SECONDS
    unavailable: bool = False
    answers_after: int | None = None
    """The heartbeat from which on nothing is unavailable."""
    nudge: bool = False
    worker_stops: bool = False
    on_flush: Callable[[bytes], None] | None = None
    give_up_after: float = float("inf")
    """Seconds after which the run is cancelled, so that a test whose condition never comes ends."""
    made_at: float = field(default_factory=lease_clock)
    beats: int = 0
    kept: bytearray = field(default_factory=bytearray)
    """Output by its offsets; what is left out is NUL."""

    def heartbeat(self) -> Pulse:
        self.beats += 1
        if self.beats == self.answers_after:
            self.unavailable = False
        if self.unavailable:
            raise Unavailable("the database cannot be reached")
        if lease_clock() - self.made_at > self.give_up_after:
            return Pulse(deadline=lease_clock() + self.lease_seconds, cancel_requested=True)
        return Pulse(deadline=lease_clock() + self.lease_seconds, **self.answer)

    def nudged(self) -> bool:
        return self.nudge

    def stopping(self) -> bool:
        return self.worker_stops

    def flush(self, part: Part) -> None:
        if self.unavailable:
            raise Unavailable("the database cannot be reached")
        self._keep(part)
        if self.on_flush:
            self.on_flush(part.data)

    def _keep(self, part: Part) -> None:
        assert len(part.data) <= 1024 * 1024, "a part is short, whatever was printed"
        del self.kept[part.replaces_from :]
        self.kept += bytes(part.start - len(self.kept)) + part.data

    def all_kept(self, report: Report) -> bytes:
        """Return all output, also what was not passed on before the end."""
        for part in report.output_rest:
            self._keep(part)
        return bytes(self.kept)


def marker() -> str:
    """Return an argument for `sleep` that no other process has: nine hours and a unique fraction."""
    return f"32400.{os.getpid()}{next(_markers):04}"


def alive(unique: str) -> list[int]:
    """Return the processes, but zombies, that have `unique` as an argument."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if unique.encode() in arguments:
            found.append(int(entry.name))
    return found
