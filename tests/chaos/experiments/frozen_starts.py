"""Slots are frozen between a claim and the start of the work, and go on when their lease is over: nothing starts."""

from __future__ import annotations

from collections import Counter
from typing import Final

from tests.chaos.stage import Stage
from tests.chaos.stopped import freezing, wait_for_stopped
from tests.processes import Process

NUMBER: Final = 2.5

_ROUNDS: Final = 4
_SLOTS: Final = 2
_BATCH: Final = 20
_MODES: Final = ("auto", "subreaper")


def run(stage: Stage) -> None:
    stage.job()
    stage.job("Stamp", call="chaos.stamp")
    stage.start_beat()
    other = stage.start_worker(concurrency=_SLOTS)
    for mode in _MODES:
        victim = _victim(stage, other, {**freezing(), "JOBSCHED_ISOLATION": mode})
        for _ in range(stage.scaled(_ROUNDS)):
            _freeze_commands(stage, victim, other)
        victim.kill()
    victim = _victim(stage, other, freezing(claims=2))
    for number in range(stage.scaled(_ROUNDS)):
        _freeze_batch(stage, victim, other, number)
    stage.wait_until_ended(60)
    stage.done(
        f"{stage.scaled(_ROUNDS)} times in each of the modes {' and '.join(_MODES)}, and as often for batches of "
        "in-process runs, the slots of a worker were stopped right after their claim, until another worker had begun "
        "the runs again."
    )


def _victim(stage: Stage, other: Process, env: dict[str, str]) -> Process:
    paused = stage.freeze(other)  # a worker that starts waits for the answers of others only a moment
    victim = stage.start_worker(concurrency=_SLOTS, env=env)
    stage.thaw(paused)
    return victim


def _freeze_commands(stage: Stage, victim: Process, other: Process) -> None:
    paused = stage.freeze(other)
    runs = stage.submit(_SLOTS, seconds=1.0)
    refused = victim.log().count("result refused")
    frozen = wait_for_stopped(stage, victim, _SLOTS)
    stage.thaw(paused)
    stage.wait_for(
        lambda: {line.run_id for line in stage.journal() if line.attempt > 1} >= set(runs),
        timeout=3 * stage.lease + 30,
        what="the second attempts",
    )
    stage.thaw(frozen)
    stage.wait_for(
        lambda: victim.log().count("result refused") >= refused + _SLOTS,
        timeout=30,
        what="the refusal of what the frozen slots recorded",
    )
    late = [line for line in stage.journal() if line.run_id in runs and line.attempt == 1 and line.kind == "start"]
    stage.demand(not late, f"the first attempt of {len(late)} of {len(runs)} runs started after its lease had ended")
    stage.wait_until_ended(60)


def _freeze_batch(stage: Stage, victim: Process, other: Process, number: int) -> None:
    file = stage.folder / f"stamps-{number}"
    paused = stage.freeze(other)
    waiting = stage.freeze(victim)  # until there is a batch to claim
    for place in range(_BATCH):
        stage.submit(1, job="Stamp", seconds=0.0, path=str(file), word=str(place))
    stage.thaw(waiting)
    frozen = wait_for_stopped(stage, victim, 1)
    stage.thaw(paused)
    stage.wait_until_ended(3 * stage.lease + 60)
    stage.thaw(frozen)
    # It works again, so it is through with what it had claimed.
    after = stage.folder / f"after-{number}"
    paused = stage.freeze(other)
    stage.submit(1, job="Stamp", seconds=0.0, path=str(after), word="after")
    stage.wait_for(after.exists, timeout=60, what="the next run of the frozen worker")
    stage.thaw(paused)
    times = Counter(file.read_text().split())
    again = {word: count for word, count in times.items() if count > 1}
    stage.demand(len(times) == _BATCH, f"{_BATCH - len(times)} of {_BATCH} in-process runs were never performed")
    stage.demand(not again, f"{len(again)} in-process runs started after their lease had ended")
