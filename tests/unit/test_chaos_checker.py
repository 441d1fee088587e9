"""The checker of the chaos suite must notice: for each promise, made-up histories that break it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.chaos.checker import check
from tests.chaos.history import AttemptRow, Change, Expected, History, RunRow
from tests.chaos.journal import Line, read
from tests.chaos.sightings import Sighting

BASE = 1_000_000.0
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def change(before: str | None, after: str, attempt: int, run_id: int = 1) -> Change:
    return Change(run_id=run_id, before=before, after=after, attempt=attempt)


def lines(*words: str) -> list[Line]:
    """`start 1 2` is the start of attempt 2 of run 1; each a second after the one before."""
    found = []
    for place, word in enumerate(words):
        kind, run_id, attempt = word.split()
        found.append(Line(place=place, kind=kind, run_id=int(run_id), attempt=int(attempt), pid=7, at=100.0 + place))
    return found


def attempt(number: int, verdict: str, run_id: int = 1) -> AttemptRow:
    return AttemptRow(run_id=run_id, number=number, verdict=verdict, finished_at=BASE + number)


def seen(at: float, wall: float = BASE) -> Sighting:
    return Sighting(at=at, wall=wall, pids=(41, 42))


LOST_ONCE = History(
    runs=[RunRow(id=1, state="succeeded", attempt=2)],
    attempts=[attempt(1, "lost"), attempt(2, "succeeded")],
    changes=[
        change(None, "queued", 0),
        change("queued", "running", 1),
        change("running", "scheduled", 1),
        change("scheduled", "queued", 1),
        change("queued", "running", 2),
        change("running", "succeeded", 2),
    ],
    journal=lines("start 1 1", "start 1 2", "end 1 2"),
    sightings={(1, 1): seen(100.9), (1, 2): seen(101.9)},
    acknowledged=[1],
)
"""A run whose first attempt was killed between its lines, and whose second succeeded."""


def changed(**parts: Any) -> History:
    return replace(LOST_ONCE, **parts)


def run(**fields: Any) -> Sequence[RunRow]:
    return [replace(LOST_ONCE.runs[0], **fields)]


def test_a_history_that_keeps_the_promises_is_not_blamed() -> None:
    assert check(LOST_ONCE) == []


def fires(*runs: RunRow, every: int = 10, until: int = 30) -> History:
    expected = Expected(
        schedule_id=5, start=NOON, every=timedelta(seconds=every), cursor=NOON + timedelta(seconds=until)
    )
    chains = [chain for fired in runs for chain in _chain(fired)]
    return History(runs=runs, changes=chains, expected=[expected])


def _chain(fired: RunRow) -> list[Change]:
    if fired.state == "skipped":
        return [change(None, "skipped", 0, fired.id)]
    return [change(None, "queued", 0, fired.id), change("queued", "cancelled", 0, fired.id)]


def fired(id: int, second: int, state: str = "cancelled", **fields: Any) -> RunRow:
    return RunRow(id=id, state=state, schedule_id=5, scheduled_for=NOON + timedelta(seconds=second), **fields)


def test_each_instant_has_one_run_or_stands_in_a_skipped_stretch() -> None:
    assert check(fires(fired(1, 10), fired(2, 20), fired(3, 30))) == []
    assert check(fires(fired(1, 10), fired(2, 20, "skipped", skipped_until=NOON + timedelta(seconds=30)))) == []


BROKEN: dict[str, tuple[History, str]] = {
    "an instant without a run": (
        fires(fired(1, 10), fired(3, 30)),
        "I1: schedule 5 has 0 runs for its instant 12:00:20",
    ),
    "an instant with two runs": (
        fires(fired(1, 10), fired(2, 20), fired(3, 30), fired(4, 20)),
        "I1: schedule 5 has 2 runs for its instant 12:00:20",
    ),
    "a run for no instant": (
        fires(fired(1, 10), fired(2, 20), fired(3, 30), fired(4, 25)),
        "I1: schedule 5 has 1 runs for 2026-11-21 12:00:25",
    ),
    "an acknowledged run that is not there": (changed(acknowledged=[1, 2]), "I1: run 2 was confirmed"),
    "a run that does not end": (
        changed(runs=run(state="running"), changes=LOST_ONCE.changes[:-1], attempts=LOST_ONCE.attempts[:1]),
        "I2: run 1 has not ended",
    ),
    "attempts that overlap by their own words": (
        changed(journal=lines("start 1 1", "start 1 2", "end 1 1", "end 1 2")),
        "I3: attempts 1 and 2 of run 1 overlapped",
    ),
    "a killed attempt that was seen alive after the next began": (
        changed(sightings={(1, 1): seen(101.5)}),
        "I3: attempts 1 and 2 of run 1 overlapped: a process of 1 was alive 0.50 s",
    ),
    "an ended attempt that left something behind": (
        changed(journal=lines("start 1 1", "end 1 1", "start 1 2", "end 1 2"), sightings={(1, 1): seen(102.5)}),
        "I3: attempts 1 and 2 of run 1 overlapped: a process of 1 was alive 0.50 s",
    ),
    "an attempt performed twice": (
        changed(journal=lines("start 1 1", "start 1 2", "start 1 2", "end 1 2")),
        "I3: attempt 2 of run 1 was started 2 times",
    ),
    "two successes": (
        changed(attempts=[attempt(1, "succeeded"), attempt(2, "succeeded")]),
        "I4: run 1 succeeded 2 times",
    ),
    "a success that was followed": (
        changed(attempts=[attempt(1, "succeeded"), attempt(2, "lost")]),
        "I4: run 1 succeeded in attempt 1, and attempt 2 followed",
    ),
    "a success that was followed by one nobody recorded": (
        changed(journal=lines("start 1 1", "start 1 2", "end 1 2", "start 1 3")),
        "I4: run 1 succeeded in attempt 2, and attempt 3 followed",
    ),
    "a success that failed": (
        changed(runs=run(state="failed"), changes=[*LOST_ONCE.changes[:-1], change("running", "failed", 2)]),
        "I4: run 1 is failed, and its successful attempts are [2]",
    ),
    "a success that nobody performed": (
        changed(journal=lines("start 1 1", "start 1 2")),
        "I4: attempt 2 of run 1 is recorded as succeeded, and did not come to its end",
    ),
    "a retry that the policy does not allow": (
        changed(attempts=[attempt(1, "failed"), attempt(2, "succeeded")]),
        "I5: run 1 was tried again after attempt 1, which was failed",
    ),
    "a repeat of what must not be repeated": (
        changed(runs=run(on_lost="fail")),
        "I5: run 1 was tried again after attempt 1, which was lost",
    ),
    "an attempt that was not recorded": (changed(attempts=[attempt(2, "succeeded")]), "I5: run 1 counts 2 attempts"),
    "attempts counted as handed back": (changed(runs=run(handed_back=1)), "I5: run 1 counts 1 attempts handed back"),
    "a survivor": (
        changed(sightings={(1, 2): seen(101.9, wall=BASE + 2 + 1.5)}),
        "I6: processes of attempt 2 of run 1 were alive 1.5 s after its end: 41, 42",
    ),
    "a transition that is not in the table": (
        changed(changes=[*LOST_ONCE.changes[:2], change("running", "succeeded", 1), change("succeeded", "queued", 1)]),
        "I7: run 1 went from succeeded to queued",
    ),
    "a birth as something else": (
        changed(changes=[change(None, "running", 1), *LOST_ONCE.changes[2:]]),
        "I7: run 1 began as running",
    ),
    "a chain with a link missing": (
        changed(changes=[*LOST_ONCE.changes[:3], *LOST_ONCE.changes[4:]]),
        "I7: run 1 was scheduled, and went from queued to running",
    ),
    "a run that is not where its chain ends": (
        changed(changes=LOST_ONCE.changes[:-1]),
        "I7: run 1 is succeeded, and its last transition led to running",
    ),
    "a fence that began again at 1": (
        changed(changes=[*LOST_ONCE.changes[:4], change("queued", "running", 1), change("running", "succeeded", 1)]),
        "I7: run 1 went to running as attempt 1, and that was 2",
    ),
    "an end whose attempt is not recorded": (
        changed(attempts=[attempt(1, "lost")]),
        "I7: run 1 went to succeeded, and what became of its attempt 2 is not recorded",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_breaks_a_promise_is_told(what: str) -> None:
    history, sentence = BROKEN[what]
    assert any(found.startswith(sentence) for found in check(history)), check(history)


def _two_runs(*, alone: bool, journal: list[Line], sightings: dict[tuple[int, int], Sighting]) -> History:
    return History(
        runs=[RunRow(id=id, state="succeeded", attempt=1, alone=alone) for id in (1, 2)],
        attempts=[attempt(1, "succeeded", id) for id in (1, 2)],
        changes=[
            link
            for id in (1, 2)
            for link in (
                change(None, "queued", 0, id),
                change("queued", "running", 1, id),
                change("running", "succeeded", 1, id),
            )
        ],
        journal=journal,
        sightings=sightings,
    )


def test_runs_of_a_job_that_forbids_it_must_not_overlap() -> None:
    beside = lines("start 1 1", "start 2 1", "end 1 1", "end 2 1")
    behind = lines("start 1 1", "end 1 1", "start 2 1", "end 2 1")
    assert check(_two_runs(alone=False, journal=beside, sightings={})) == []
    assert check(_two_runs(alone=True, journal=behind, sightings={})) == []
    assert check(_two_runs(alone=True, journal=beside, sightings={})) == [
        "I3: runs 1 and 2 overlapped, and their job forbids it"
    ]


def test_a_journal_is_read_in_the_order_in_which_it_was_written(tmp_path: Any) -> None:
    file = tmp_path / "journal"
    assert read(file) == []
    file.write_text("start 12 1 9 100.25\nend 12 1 9 101.50\nstart 1")
    assert [(line.place, line.kind, line.run_id, line.at) for line in read(file)] == [
        (0, "start", 12, 100.25),
        (1, "end", 12, 101.5),
    ]
