"""What the suite's jobs write down themselves: a file of lines, independent of the database.

A line is `start|end RUN ATTEMPT PID SECONDS`, appended with O_APPEND in one write: the order of the lines is the order
in which they were written, whatever clocks say. PID is what the job sees as its own, in its namespace; from the outside
a run's processes are found by the variables in their environment. SECONDS are those of /proc/uptime.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

LOG: Final = """\
log() {
  read now _ </proc/uptime
  printf '%s %s %s %s %s\\n' "$1" "$JOBSCHED_RUN_ID" "$JOBSCHED_ATTEMPT" "$$" "$now" >>"$JOBSCHED_PARAM_JOURNAL"
}
"""
"""Begins the script of a job: `log start` and `log end` write lines. The file comes in the parameter `journal`."""

SCRIPT: Final = LOG + 'log start; sleep "$JOBSCHED_PARAM_SECONDS"; log end\n'
"""The usual job: it lasts as long as the parameter `seconds` says."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line of the journal. `place` is its number in the file, `at` in seconds since the machine started."""

    place: int
    kind: str
    run_id: int
    attempt: int
    pid: int
    at: float


def read(path: Path) -> list[Line]:
    """Return all whole lines of a journal; nothing when no job has written yet. Raises ValueError for others."""
    if not path.exists():
        return []
    *whole, _rest = path.read_text().split("\n")
    return [_line(place, text) for place, text in enumerate(whole)]


def _line(place: int, text: str) -> Line:
    kind, run_id, attempt, pid, at = text.split()
    if kind not in ("start", "end"):
        raise ValueError(f"line {place + 1} of the journal begins with {kind!r}")
    return Line(place=place, kind=kind, run_id=int(run_id), attempt=int(attempt), pid=int(pid), at=float(at))
