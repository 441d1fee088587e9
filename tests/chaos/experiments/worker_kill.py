"""kill -9 of a random worker's main process or slot every 2 s, while 5,000 runs of 0.1 to 3 s go through."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Final

from benchmarks.figures import percentile
from tests.chaos.feed import Feed
from tests.chaos.stage import Stage
from tests.processes import Process

NUMBER: Final = 1

_RUNS: Final = 5000
_WORKERS, _SLOTS = 3, 5
_BUSY: Final = 8
"""So many slots have work at a time: what was lost finds a free one, also while a worker is started again."""
_PAUSE_SECONDS: Final = 2.0


class _Killer:
    """Knows who lives, who was killed when, and has a worker started for each main process that it killed."""

    def __init__(self, stage: Stage, supervisor: ThreadPoolExecutor) -> None:
        self._stage = stage
        self._supervisor = supervisor
        self.killed_at: dict[int, float] = {}
        """The last moment a slot was alive, by its number."""
        self.mains = self.slots = 0
        self._workers = stage.start_workers(_WORKERS, concurrency=_SLOTS)
        self._starting: list[Future[Process]] = []

    def strike(self) -> None:
        """Kill one process at random: any slot, or any main process, if it lives."""
        for started in [one for one in self._starting if one.done()]:
            self._starting.remove(started)
            self._workers.append(started.result())
        victims = [(worker, pid) for worker in self._workers for pid in (worker.pid, *self._stage.slots(worker))]
        # A strike may hit one that is being started again: else the last worker left would get all of them.
        number = self._stage.random.randrange(max(len(victims), _WORKERS * (1 + _SLOTS)))
        if number >= len(victims):
            return
        worker, pid = victims[number]
        fellows = self._stage.slots(worker) if pid == worker.pid else [pid]
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        for fellow in fellows:
            self.killed_at[fellow] = time.time()
        if pid == worker.pid:
            self.mains += 1
            self._workers.remove(worker)
            self._starting.append(self._supervisor.submit(self._stage.start_worker, concurrency=_SLOTS))
        else:
            self.slots += 1


def run(stage: Stage) -> None:
    stage.job()
    stage.start_beat()
    with ThreadPoolExecutor(_WORKERS) as supervisor:
        killer = _Killer(stage, supervisor)
        total = stage.scaled(_RUNS, 40)
        feed = Feed(
            stage,
            total,
            backlog=_BUSY,
            seconds=(0.1, 3.0),
            # Not those that the database takes for running: many of them are dead, and wait for their lease to end.
            under_way=lambda: stage.count("queued") + len(stage.alive()),
        )
        began = time.monotonic()
        struck_at = began
        while feed.top_up():
            if time.monotonic() - struck_at > _PAUSE_SECONDS:
                struck_at = time.monotonic()
                killer.strike()
                stage.say(f"{total - feed.left} of {total} submitted, {killer.mains + killer.slots} killed")
            time.sleep(0.1)
        stage.wait_until_ended(180)
        seconds = time.monotonic() - began
    stage.done(
        f"{total:,} runs over {_WORKERS} workers of {_SLOTS} slots; {killer.mains} main processes and {killer.slots} "
        f"slots killed, one about every {_PAUSE_SECONDS:g} s."
    )
    stage.figure("runs a second", total / seconds)
    _tell_recovery(stage, killer.killed_at)


def _tell_recovery(stage: Stage, killed_at: dict[int, float]) -> None:
    history = stage.history()
    started = {(attempt.run_id, attempt.number): attempt.started_at for attempt in history.attempts}
    lost = [attempt for attempt in history.attempts if attempt.verdict == "lost"]
    stage.figure("attempts lost", len(lost))
    ends: dict[str, int] = {}
    for ended in history.runs:
        ends[ended.state] = ends.get(ended.state, 0) + 1
    stage.demand(set(ends) == {"succeeded"}, f"runs that nobody failed ended as {ends}")
    judged, seconds = [], []
    for attempt in lost:
        killed = killed_at.get(int(attempt.worker.rpartition("/")[2]))
        again = started.get((attempt.run_id, attempt.number + 1))
        if killed is not None and again is not None:
            judged.append(attempt.finished_at - killed)
            seconds.append(again - killed)
    # A worker that was not killed may be too slow to renew a lease while others are started beside it.
    stage.figure("of these without a kill", len(lost) - len(seconds))
    if seconds:
        stage.figure("from the kill until it was noticed, p99", percentile(judged, 99), "s")
        stage.figure("recovery (until it runs again), median", percentile(seconds, 50), "s")
        stage.limit("recovery (until it runs again), p99", percentile(seconds, 99), stage.lease + 5)
