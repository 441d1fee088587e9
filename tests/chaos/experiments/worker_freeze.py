"""SIGSTOP of a worker past its lease, then CONT: its results are refused, its children dead, and it works again."""

from __future__ import annotations

from typing import Final

from tests.chaos.comeback import demand_lost_and_done_again, works_again
from tests.chaos.journal import LOG
from tests.chaos.stage import Stage
from tests.processes import Process

NUMBER: Final = 2

_ROUNDS: Final = 6
_SLOTS: Final = 2
_LONG: Final = LOG + 'log start; if [ "$JOBSCHED_ATTEMPT" = 1 ]; then sleep 300; else sleep 2; fi; log end\n'


def run(stage: Stage) -> None:
    stage.job("Short")
    stage.job("Long", run=_LONG)
    stage.start_beat()
    workers = stage.start_workers(2, concurrency=_SLOTS)
    for _ in range(stage.scaled(_ROUNDS)):
        _freeze_one(stage, workers)
    stage.done(
        f"{stage.scaled(_ROUNDS)} times one of two workers was stopped, main process and slots, until another had "
        "begun its runs again; one of its two runs came to its end meanwhile, the other would have lasted on."
    )
    lost = stage.query("SELECT count(*) FROM jobs_attempt WHERE verdict = 'lost'")[0][0]
    stage.figure("attempts lost", lost)
    stage.demand(lost >= 2 * stage.scaled(_ROUNDS), f"only {lost} attempts were lost to frozen workers")


def _freeze_one(stage: Stage, workers: list[Process]) -> None:
    victim = stage.random.choice(workers)
    other = workers[1 - workers.index(victim)]
    # The other is out of the way until the victim has taken both.
    paused = stage.freeze(other)
    short, long = [*stage.submit(1, seconds=2.0, job="Short"), *stage.submit(1, job="Long")]
    stage.wait_for(
        lambda: {line.run_id for line in stage.journal()} >= {short, long}, timeout=60, what="the start of both runs"
    )
    refused = victim.log().count("result refused")
    frozen = stage.freeze(victim)
    stage.thaw(paused)
    stage.wait_for(
        lambda: {line.run_id for line in stage.journal() if line.attempt > 1} >= {short, long},
        timeout=3 * stage.lease + 30,
        what="the second attempts",
    )
    stage.demand(
        not any(key in stage.alive() for key in ((short, 1), (long, 1))),
        f"a process of runs {short} and {long} outlived the lease of its frozen worker",
    )
    stage.thaw(frozen)
    stage.wait_for(
        lambda: victim.log().count("result refused") >= refused + 2,
        timeout=30,
        what="the refusal of both results of the frozen worker",
    )
    stage.wait_until_ended(60)
    demand_lost_and_done_again(stage, short, long)
    works_again(stage, victim, other)
