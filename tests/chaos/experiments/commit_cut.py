"""Connections to PostgreSQL cut after a commit and before its answer: 500 times each at fire, claim and record."""

from __future__ import annotations

import time
from typing import Final

from tests.chaos.commit_cuts import CommitCutter, Cuts, Target
from tests.chaos.stage import Stage

NUMBER: Final = 10
_TARGETS: Final = {
    "fire": Target(text="WITH wanted AS"),
    "claim": Target(text="claimed AS (", without="settled AS ("),
    "record": Target(text="settled AS ("),
}
_PHASES: Final = 8
"""A beat commits the fires of one moment at once; so many moments a second give as many commits to cut."""


def run(stage: Stage) -> None:
    cuts = Cuts(targets=_TARGETS, times=stage.scaled(500, 10), rng=stage.random, one_in=2)
    jobs = [stage.job(f"Job {phase}", params={"seconds": 0.02}) for phase in range(_PHASES)]
    with CommitCutter(stage.database_url, cuts) as cutter:
        for _ in range(2):
            stage.start_beat(database_url=cutter.url)
        stage.start_worker(concurrency=3, database_url=cutter.url)
        for phase, job in enumerate(jobs):
            stage.every(1, job=job, offset=phase / _PHASES)
        began = time.monotonic()
        stage.wait_for(lambda: cuts.done, timeout=120 + 2.5 * cuts.times, what="enough commits to cut")
        cuts.on = False
        seconds = time.monotonic() - began
        stage.no_more_fires()
        stage.wait_until_ended(120)
    for name in _TARGETS:
        stage.figure(f"{name}: cut after the commit", cuts.committed[name])
        stage.figure(f"{name}: cut before it", cuts.lost[name])
    runs, attempts = stage.query("SELECT count(*), sum(attempt) FROM jobs_run")[0]
    lost = stage.query("SELECT count(*) FROM jobs_attempt WHERE verdict = 'lost'")[0][0]
    stage.done(f"{runs} runs were fired, claimed and recorded over connections that were cut for {seconds:.0f} s.")
    stage.figure("attempts beyond the first", int(attempts) - runs)
    stage.demand(not lost, f"{lost} attempts were lost although their workers lived and the database answered")
