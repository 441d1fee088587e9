"""Random messages, most of them malformed, arrive on the queue, the remote control and the events of two workers."""

from __future__ import annotations

import itertools
import time
from typing import Final

from jobs.messages.hintmessage import LIFETIME_SECONDS
from tests.chaos.broker_control import waiting
from tests.chaos.stage import Stage
from tests.hostile_messages import Fuzzer, send

NUMBER: Final = 8.5

_MESSAGES: Final = 10_000
_AT_ONCE: Final = 500
_SLOTS: Final = 2
_REPORTS_A_MINUTE: Final = 30
"""Lines that one worker may log: one for each queue and reason."""


def run(stage: Stage) -> None:
    stage.job()
    stage.start_beat()
    workers = stage.start_workers(2, concurrency=_SLOTS)
    slots = [set(stage.slots(worker)) for worker in workers]
    fuzzer, wanted, sent = Fuzzer(stage.random, queue="default"), stage.scaled(_MESSAGES, 300), 0
    began = time.monotonic()
    slowest = 0.0
    while wanted > 0:
        sent += send(stage.broker_url, itertools.islice(fuzzer.messages(wanted), min(wanted, _AT_ONCE)))
        wanted -= _AT_ONCE
        asked = time.monotonic()
        stage.submit(2 * _SLOTS, seconds=0.05)
        stage.wait_until_ended(60)
        slowest = max(slowest, time.monotonic() - asked)
    stage.wait_for(lambda: waiting(stage.broker_url, "default") == 0, timeout=60, what="the end of the messages")
    minutes = (time.monotonic() - began) / 60
    stage.done(f"{sent} random messages on the queue, the remote control and the events of two workers.")
    for worker, before in zip(workers, slots, strict=True):
        stage.demand(worker.is_running(), f"{worker.name} ended")
        stage.demand(set(stage.slots(worker)) == before, f"a slot of {worker.name} ended")
        reports = worker.log().count("messages rejected")
        most = _REPORTS_A_MINUTE * (minutes + 1)
        stage.demand(0 < reports <= most, f"{worker.name} reported rejections {reports} times in {minutes:.1f} min")
        worker.stop()
    # Hints that were given back expire; nothing else may be there.
    stage.wait_for(
        lambda: waiting(stage.broker_url, "default") == 0,
        timeout=2 * LIFETIME_SECONDS,
        what="an empty queue after the workers had stopped",
    )
    rejected = int(stage.query("SELECT coalesce(sum(count), 0) FROM jobs_rejectedmessages")[0][0])
    stage.demand(rejected > 0, "no rejected message was counted")
    stage.figure("messages sent", sent)
    stage.figure("messages rejected and counted", rejected)
    stage.limit("slowest of the runs in between, from request to end", slowest, 15)
