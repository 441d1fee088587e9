"""What each example promises, and how the demo finds out whether it kept it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

Run = dict[str, Any]
"""A run as the API tells it, with its attempts."""
Finding = str | None
"""One sentence about what is wrong, or None."""

ENDED = frozenset({"succeeded", "failed", "timed_out", "cancelled", "skipped"})


class Start(Enum):
    """Who starts an example."""

    SCHEDULE = "its schedule"
    DEMO = "the demo, at its beginning"


@dataclass(frozen=True, kw_only=True)
class Example:
    """One job of examples/ and its promise."""

    job: str
    promise: str
    check: Callable[[Sequence[Run]], Finding]
    """Gets the runs of this demo, the oldest first, all of them ended."""
    start: Start = Start.DEMO
    wants_port: bool = False
    """Whether its runs get the port of the stack's web process, as the parameter `port`."""
    requests: int = 1
    """How many runs the demo asks for."""
    runs_needed: int = 1
    """How many runs must have ended before the check makes sense."""
    earlier_counts: bool = False
    """Whether a run of an earlier demo will do: a crontab may not be due again for a minute."""

    def is_done(self, runs: Sequence[Run]) -> bool:
        """Tell whether enough of these runs have ended."""
        return sum(run["state"] in ENDED for run in runs) >= self.runs_needed


def all_of(*checks: Callable[[Sequence[Run]], Finding]) -> Callable[[Sequence[Run]], Finding]:
    """Combine checks: the first that finds something wrong speaks."""

    def check(runs: Sequence[Run]) -> Finding:
        return next((finding for one in checks if (finding := one(runs))), None)

    return check


def ended(state: str) -> Callable[[Sequence[Run]], Finding]:
    """Every run ended in `state`."""

    def check(runs: Sequence[Run]) -> Finding:
        for run in runs:
            if run["state"] != state:
                return f"run {run['id']} ended as {run['state']} ({run['reason'] or 'no reason'}), not as {state}"
        return None

    return check


def fired(times: int, *, at_second: int | None = None) -> Callable[[Sequence[Run]], Finding]:
    """The schedule fired at least so often, each time for an instant of its own, at this second if one is given."""

    def check(runs: Sequence[Run]) -> Finding:
        instants = {moment(run["scheduled_for"]) for run in runs if run["trigger"] == "schedule"}
        if len(instants) < times:
            return f"it fired {len(instants)} times, not {times}"
        if at_second is not None and any((one.second, one.microsecond) != (at_second, 0) for one in instants):
            return f"it fired at another second than {at_second}: {', '.join(map(str, sorted(instants)))}"
        return None

    return check


def took_attempts(count: int, *, failed_before: bool) -> Callable[[Sequence[Run]], Finding]:
    """Every run ended on exactly this attempt, the ones before it failed or not."""

    def check(runs: Sequence[Run]) -> Finding:
        for run in runs:
            verdicts = [attempt["verdict"] for attempt in run["attempts"]]
            if len(verdicts) != count:
                return f"run {run['id']} took {len(verdicts)} attempts, not {count}"
            if failed_before and verdicts[:-1] != ["failed"] * (count - 1):
                return f"run {run['id']}'s attempts went {', '.join(verdicts)}"
        return None

    return check


def all_steps_succeeded(*, count: int) -> Callable[[Sequence[Run]], Finding]:
    """The last attempt had so many steps, and each of them succeeded."""

    def check(runs: Sequence[Run]) -> Finding:
        for run in runs:
            steps = run["attempts"][-1]["sections"]
            bad = [step["name"] for step in steps if step["verdict"] != "succeeded"]
            if bad:
                return f"run {run['id']}: these steps did not succeed: {', '.join(bad)}"
            if len(steps) != count:
                return f"run {run['id']} has {len(steps)} steps, not {count}"
        return None

    return check


def answered(status: int) -> Callable[[Sequence[Run]], Finding]:
    """The last attempt got this HTTP status."""

    def check(runs: Sequence[Run]) -> Finding:
        for run in runs:
            got = run["attempts"][-1]["http_status"]
            if got != status:
                return f"run {run['id']} got the HTTP status {got}, not {status}"
        return None

    return check


def returned(expected: Any) -> Callable[[Sequence[Run]], Finding]:
    """The stored JSON result is this."""

    def check(runs: Sequence[Run]) -> Finding:
        for run in runs:
            got = run["attempts"][-1]["result"]
            if got != expected:
                return f"run {run['id']} stored the result {got!r}, not {expected!r}"
        return None

    return check


def no_process_named(marker: str) -> Callable[[Sequence[Run]], Finding]:
    """No process on this machine has `marker` in its command line any more."""

    def check(_: Sequence[Run]) -> Finding:
        alive = processes_with(marker)
        return f"its processes {', '.join(map(str, alive))} are still alive" if alive else None

    return check


def processes_with(marker: str) -> list[int]:
    """Return the numbers of the processes with `marker` in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except OSError:  # it has just ended
            continue
        if marker.encode() in line:
            found.append(int(path.parent.name))
    return found


def overtaken(urgent: Run, waiting: Sequence[Run]) -> Finding:
    """The urgent run was asked for after all that waited, and started before the last of them."""
    if any(moment(run["created_at"]) > moment(urgent["created_at"]) for run in waiting):
        return "it was not the last to be asked for"
    behind = sum(moment(run["started_at"]) > moment(urgent["started_at"]) for run in waiting)
    return None if behind else f"it started after all {len(waiting)} runs that waited before it"


def moment(text: str) -> datetime:
    """Read a time as the API writes it."""
    return datetime.fromisoformat(text)
