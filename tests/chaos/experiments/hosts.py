"""The way from a host to the servers fails, briefly and for long: link down, one way, dropped, refused, loss."""

from __future__ import annotations

import time
from typing import Final

from tests.chaos.comeback import works_again
from tests.chaos.forgotten import HOLDS, longest_outage
from tests.chaos.hosts import FAULTS, Host, hub, missing
from tests.chaos.stage import Stage
from tests.processes import Process

NUMBER: Final = 4.5
_SLOTS: Final = 2
_IN_SHORT: Final = 2
"""So many kinds of faults, chosen at random, are tried in a short mix."""


def run(stage: Stage) -> None:
    if reason := missing():
        stage.done(f"Nothing was tried: {reason}.")
        return
    stage.job("Short")
    stage.start_beat()
    kinds = list(FAULTS) if stage.is_full else stage.random.sample(FAULTS, _IN_SHORT)
    with hub() as between:
        database, broker = between.proxy(stage.database_url), between.proxy(stage.broker_url)
        hosts = [between.host() for _ in range(2)]
        away, there = (
            stage.start_worker(concurrency=_SLOTS, database_url=database.url, broker_url=broker.url, before=host.before)
            for host in hosts
        )
        for number, kind in enumerate(kinds):
            # A line that loses packets is never down: work goes on however long that takes.
            brief = stage.lease if kind == "loss" else longest_outage(stage) * stage.random.uniform(0.5, 0.9)
            lost = _break(stage, hosts[0], away, there, kind, brief, f"brief {number}")
            if stage.is_full:
                stage.demand(not lost, f"{kind} for {brief:.1f} s cost {lost} attempts")
            if stage.is_full and kind != "loss":
                lost = _break(stage, hosts[0], away, there, kind, stage.lease + 5, f"long {number}")
                stage.demand(lost == _SLOTS, f"{kind} for longer than a lease cost {lost} attempts")
        # Processes end before the namespaces they are in.
        stage.clear()
    stage.done(f"The way from one host to both servers failed: {', '.join(kinds)}. The other host went on.")


def _break(stage: Stage, host: Host, away: Process, there: Process, kind: str, seconds: float, name: str) -> int:
    """Break the way of a host that holds runs for some seconds. Return how many attempts were lost."""
    hold = stage.folder / f"hold-{name.replace(' ', '-')}"
    hold.touch()
    job = stage.job(f"Holds {name}", run=HOLDS, params={"hold": str(hold)})
    paused = stage.freeze(there)  # out of the way until the other has taken all
    runs = stage.submit(_SLOTS, job=job)
    stage.wait_for(
        lambda: {line.run_id for line in stage.journal()} >= set(runs), timeout=60, what="the start of both runs"
    )
    stage.thaw(paused)
    stage.say(f"{kind} for {seconds:.1f} s")
    with host.fault(kind):
        time.sleep(seconds)
    began = time.monotonic()
    # Runs that were not lost go on until they are told to end; a lease later all is decided.
    until = began + stage.lease
    stage.wait_for(lambda: time.monotonic() > until, timeout=stage.lease + 30, what="the end of a lease")
    hold.unlink()
    stage.wait_until_ended(120)
    works_again(stage, away, there)
    found = stage.query("SELECT count(*) FROM jobs_attempt WHERE verdict = 'lost' AND run_id = ANY(%s)", (runs,))
    stage.figure(f"attempts lost by {kind} for {seconds:.1f} s", found[0][0])
    return int(found[0][0])
