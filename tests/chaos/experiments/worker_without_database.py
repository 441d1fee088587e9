"""A worker is cut from PostgreSQL for 60 s: it ends its work before its leases end, others go on, and it comes back."""

from __future__ import annotations

import time
from typing import Final

from tests.chaos.comeback import demand_lost_and_done_again, works_again
from tests.chaos.journal import LOG
from tests.chaos.outages import outage, ways
from tests.chaos.proxies import Proxy
from tests.chaos.stage import Stage

NUMBER: Final = 3

_LONG: Final = LOG + 'log start; if [ "$JOBSCHED_ATTEMPT" = 1 ]; then sleep 300; else sleep 2; fi; log end\n'


def run(stage: Stage) -> None:
    stage.job("Short")
    stage.job("Long", run=_LONG)
    stage.start_beat()
    seconds = 60.0 if stage.is_full else stage.lease + 3
    chosen = ways(stage)
    with Proxy(stage.database_url) as proxy:
        away = stage.start_worker(concurrency=4, database_url=proxy.url)
        there = stage.start_worker(concurrency=4)
        for how in chosen:
            paused = stage.freeze(there)
            short = stage.submit(2, seconds=3.0, job="Short")
            long = stage.submit(2, job="Long")
            stage.wait_for(
                lambda wanted=set(short + long): wanted <= {line.run_id for line in stage.journal()},
                timeout=60,
                what="the start of all four runs",
            )
            stage.thaw(paused)
            outage(stage, proxy, how, seconds)
            began = time.monotonic()
            stage.wait_until_ended(120)
            works_again(stage, away, there)
            stage.figure(f"back at work after the outage ({how})", time.monotonic() - began, "s")
            demand_lost_and_done_again(stage, *long)
    stage.done(f"One of two workers lost its connections to PostgreSQL for {seconds:g} s ({', '.join(chosen)}).")
