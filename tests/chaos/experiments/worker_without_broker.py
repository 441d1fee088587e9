"""A worker is cut from RabbitMQ for 60 s while it performs long runs: none is lost, none doubled, and it comes back."""

from __future__ import annotations

import time
from typing import Final

from tests.chaos.comeback import works_again
from tests.chaos.outages import outage, ways
from tests.chaos.proxies import Proxy
from tests.chaos.stage import Stage

NUMBER: Final = 4

_SLOTS: Final = 4


def run(stage: Stage) -> None:
    stage.job("Long")
    stage.job("Short")
    stage.start_beat()
    seconds = 60.0 if stage.is_full else 6.0
    with Proxy(stage.broker_url) as proxy:
        worker = stage.start_worker(concurrency=_SLOTS, broker_url=proxy.url)
        chosen = ways(stage)
        for how in chosen:
            # Half of them end during the outage, half after it.
            long = [
                *stage.submit(2, seconds=seconds / 2, job="Long"),
                *stage.submit(2, seconds=seconds + 5, job="Long"),
            ]
            stage.wait_for(
                lambda wanted=set(long): wanted <= {line.run_id for line in stage.journal()},
                timeout=60,
                what="the start of all four runs",
            )
            outage(stage, proxy, how, seconds)
            began = time.monotonic()
            works_again(stage, worker, None)
            stage.figure(f"back at work after the outage ({how})", time.monotonic() - began, "s")
            stage.wait_until_ended(seconds + 60)
            ends = stage.query("SELECT state, attempt FROM jobs_run WHERE id = ANY(%s)", (long,))
            stage.demand(set(ends) == {("succeeded", 1)}, f"runs {long} of the worker that was cut off ended as {ends}")
    stage.done(f"A worker with {_SLOTS} slots, all busy, lost its broker for {seconds:g} s ({', '.join(chosen)}).")
