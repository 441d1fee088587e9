"""Holds a history against the promises I1 to I7. What it returns are sentences with the numbers of runs.

What it can see, and what not:

- Between attempts that wrote their `end`, and between any two starts, order is certain: it is the order of lines in
  one file, whatever clocks say. Two attempts overlap if the later one's `start` stands before the earlier one's `end`.
- An attempt that was killed has no `end`. That it lived on after the next one had started is known only if one of its
  processes was sampled after that start (see `sightings`): an overlap shorter than the time between two samples, 0.2 s,
  can be missed. An attempt whose work lives on for good, as it would if nothing killed it, cannot.
- Processes are known by variables in their environment, or by an argument for those that gave it up. One that
  hides both is not seen.
- What a process does while it is stopped by SIGSTOP is nothing, but it counts as alive.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from jobsched.domain.retry import LOST_RETRIES
from jobsched.domain.states import BIRTHS, FINISHED, State, may
from tests.chaos.history import AttemptRow, Change, History, RunRow
from tests.chaos.journal import Line

DEAD_WITHIN_SECONDS: Final = 1.0
_TICK_SECONDS: Final = 0.02
"""/proc/uptime counts hundredths; a sample that is not later than this proves nothing."""


def check(history: History) -> list[str]:
    """Return what contradicts the promises; nothing when they hold."""
    of_run = _by_run(history)
    checks = (_fires, _ends, _overlaps, _lonely_overlaps, _successes, _limits, _survivors, _transitions)
    return [sentence for one in checks for sentence in one(history, of_run)]


class _OfRun:
    """What is known of one run."""

    def __init__(self) -> None:
        self.attempts: list[AttemptRow] = []
        self.changes: list[Change] = []
        self.lines: list[Line] = []


_Runs = dict[int, _OfRun]


def _by_run(history: History) -> _Runs:
    found: _Runs = defaultdict(_OfRun)
    for attempt in history.attempts:
        found[attempt.run_id].attempts.append(attempt)
    for change in history.changes:
        found[change.run_id].changes.append(change)
    for line in history.journal:
        found[line.run_id].lines.append(line)
    return found


def _fires(history: History, _of_run: _Runs) -> Iterator[str]:
    """I1: every expected fire, and every request that was confirmed, has one run."""
    known = Counter(run.id for run in history.runs)
    for asked in history.acknowledged:
        if known[asked] != 1:
            yield f"I1: run {asked} was confirmed to the one who asked for it, and there is no such run"
    by_schedule: dict[int, list[RunRow]] = defaultdict(list)
    for run in history.runs:
        if run.schedule_id is not None:
            by_schedule[run.schedule_id].append(run)
    for expected in history.expected:
        made = Counter(run.scheduled_for for run in by_schedule[expected.schedule_id] if run.state != State.SKIPPED)
        skips = [run for run in by_schedule[expected.schedule_id] if run.state == State.SKIPPED]
        for instant in expected.instants():
            told = made.pop(instant, 0) + sum(_stands_for(skip, instant) for skip in skips)
            if told != 1:
                yield f"I1: schedule {expected.schedule_id} has {told} runs for its instant {instant:%H:%M:%S.%f}"
        for instant, count in made.items():
            beyond = instant is not None and instant > expected.cursor
            if not beyond or count > 1:
                yield f"I1: schedule {expected.schedule_id} has {count} runs for {instant}, no instant of it"


def _stands_for(skip: RunRow, instant: datetime) -> bool:
    first = skip.scheduled_for
    return first is not None and first <= instant <= (skip.skipped_until or first)


def _ends(history: History, _of_run: _Runs) -> Iterator[str]:
    """I2: every run ends."""
    for run in history.runs:
        if run.state not in FINISHED:
            yield f"I2: run {run.id} has not ended: it is {run.state}, attempt {run.attempt}"


def _overlaps(history: History, of_run: _Runs) -> Iterator[str]:
    """I3: no two attempts of a run overlap, and none is performed twice."""
    for run_id, known in of_run.items():
        starts = [line for line in known.lines if line.kind == "start"]
        ends = {line.attempt: line for line in known.lines if line.kind == "end"}
        for attempt, times in Counter(line.attempt for line in starts).items():
            if times > 1:
                yield f"I3: attempt {attempt} of run {run_id} was started {times} times"
        for number, earlier in enumerate(starts):
            for later in starts[number + 1 :]:
                end = ends.get(earlier.attempt)
                if end is not None and end.place > later.place and later.attempt != earlier.attempt:
                    yield (
                        f"I3: attempts {earlier.attempt} and {later.attempt} of run {run_id} overlapped: "
                        f"{later.attempt} started {end.at - later.at:.2f} s before {earlier.attempt} ended"
                    )
                elif (late := _seen_after(history, earlier, later)) is not None:
                    yield (
                        f"I3: attempts {earlier.attempt} and {later.attempt} of run {run_id} overlapped: "
                        f"a process of {earlier.attempt} was alive {late:.2f} s after the start of {later.attempt}"
                    )


def _seen_after(history: History, earlier: Line, later: Line) -> float | None:
    sighting = history.sightings.get((earlier.run_id, earlier.attempt))
    if sighting is None or later.attempt == earlier.attempt or sighting.at <= later.at + _TICK_SECONDS:
        return None
    return sighting.at - later.at


def _lonely_overlaps(history: History, of_run: _Runs) -> Iterator[str]:
    """I3: no two runs of a job that forbids it overlap."""
    by_job: dict[int, list[Line]] = defaultdict(list)
    for run in history.runs:
        if run.alone:
            by_job[run.job_id] += of_run[run.id].lines
    for lines in by_job.values():
        under_way: dict[tuple[int, int], Line] = {}
        for line in sorted(lines, key=lambda found: found.place):
            key = line.run_id, line.attempt
            if line.kind == "end":
                under_way.pop(key, None)
                continue
            for other, start in under_way.items():
                ends = any(one.kind == "end" and one.attempt == other[1] for one in of_run[other[0]].lines)
                if other[0] != line.run_id and (ends or _seen_after_start(history, start, line)):
                    yield f"I3: runs {other[0]} and {line.run_id} overlapped, and their job forbids it"
            under_way[key] = line


def _seen_after_start(history: History, earlier: Line, later: Line) -> bool:
    sighting = history.sightings.get((earlier.run_id, earlier.attempt))
    return sighting is not None and sighting.at > later.at + _TICK_SECONDS


def _successes(history: History, of_run: _Runs) -> Iterator[str]:
    """I4: at most one success, which is the last attempt, and what was recorded as done was done."""
    for run in history.runs:
        attempts = of_run[run.id].attempts
        won = [attempt.number for attempt in attempts if attempt.verdict == "succeeded"]
        if len(won) > 1:
            yield f"I4: run {run.id} succeeded {len(won)} times, in its attempts {won}"
        last = max((attempt.number for attempt in attempts), default=0)
        started = max((line.attempt for line in of_run[run.id].lines if line.kind == "start"), default=0)
        if won and max(last, started) > won[-1]:
            yield f"I4: run {run.id} succeeded in attempt {won[-1]}, and attempt {max(last, started)} followed"
        if (run.state == State.SUCCEEDED) != bool(won):
            yield f"I4: run {run.id} is {run.state}, and its successful attempts are {won}"
        done = {line.attempt for line in of_run[run.id].lines if line.kind == "end"}
        if run.journalled and won and won[-1] not in done:
            yield f"I4: attempt {won[-1]} of run {run.id} is recorded as succeeded, and did not come to its end"


def _limits(history: History, of_run: _Runs) -> Iterator[str]:
    """I5: attempts within the limit, numbered from 1 without a gap."""
    for run in history.runs:
        attempts = sorted(of_run[run.id].attempts, key=lambda attempt: attempt.number)
        numbers = [attempt.number for attempt in attempts]
        if run.state in FINISHED and numbers != list(range(1, run.attempt + 1)):
            yield f"I5: run {run.id} counts {run.attempt} attempts, and those recorded are {numbers}"
        returned = sum(attempt.verdict == "handed_back" for attempt in attempts)
        if run.state in FINISHED and returned != run.handed_back:
            yield f"I5: run {run.id} counts {run.handed_back} attempts handed back, and {returned} are recorded"
        tries = 0
        for attempt in attempts[:-1]:
            if attempt.verdict == "handed_back":
                continue
            tries += 1
            if tries > _most(run, attempt.verdict):
                yield f"I5: run {run.id} was tried again after attempt {attempt.number}, which was {attempt.verdict}"


def _most(run: RunRow, verdict: str) -> int:
    """Return after how many tries of a run one with this verdict may still be followed by another."""
    if verdict == "lost":
        return 0 if run.on_lost == "fail" else max(run.most_retries, LOST_RETRIES)
    return run.most_retries if verdict in ("failed", "timed_out") else 0


def _survivors(history: History, _of_run: _Runs) -> Iterator[str]:
    """I6: no process of an attempt is alive a second after its end."""
    for attempt in history.attempts:
        seen = history.sightings.get((attempt.run_id, attempt.number))
        if seen is not None and seen.wall > attempt.finished_at + DEAD_WITHIN_SECONDS:
            yield (
                f"I6: processes of attempt {attempt.number} of run {attempt.run_id} were alive "
                f"{seen.wall - attempt.finished_at:.1f} s after its end: {', '.join(map(str, seen.pids))}"
            )


def _transitions(history: History, of_run: _Runs) -> Iterator[str]:
    """I7: no transition outside the table; each run's chain is whole, and each attempt that ended is recorded."""
    for run in history.runs:
        state: State | None = None
        attempt = 0
        recorded = {found.number for found in of_run[run.id].attempts}
        for change in of_run[run.id].changes:
            after = State(change.after)
            if change.before != state:
                yield f"I7: run {run.id} was {state or 'not there'}, and went from {change.before} to {after}"
            elif state is None and after not in BIRTHS:
                yield f"I7: run {run.id} began as {after}"
            elif state is not None and not may(state, after):
                yield f"I7: run {run.id} went from {state} to {after}"
            if after is State.RUNNING:
                attempt += 1
            elif change.before == State.RUNNING and attempt not in recorded:
                yield f"I7: run {run.id} went to {after}, and what became of its attempt {attempt} is not recorded"
            if change.attempt != attempt:
                yield f"I7: run {run.id} went to {after} as attempt {change.attempt}, and that was {attempt}"
            state = after
        if state != run.state:
            yield f"I7: run {run.id} is {run.state}, and its last transition led to {state}"
