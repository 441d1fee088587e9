"""Perform one run in a process of its own. The slot supervises: output, heartbeats, limits, cancel."""

from __future__ import annotations

import logging
import os
import random
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from jobs import worker
from jobs.conf import conf
from jobs.services.running import events
from jobs.services.running.board import Posted, board
from jobs.services.running.keeping import OutputKeeper
from jobs.services.running.settling import settle, with_output
from jobs.services.running.slot import SlotProcess, deadline_seconds
from jobs.store import claims as store
from jobs.store.claims import Claim, Settlement
from jobs.store.session import Refused
from jobsched.domain.errors import Unavailable
from jobsched.domain.outcomes import Outcome, Part, Report, Verdict
from jobsched.domain.retry import OnLost
from jobsched.engine import Pulse
from jobsched.shim.launcher import LauncherEnded
from jobsched.shim.lease import lease_clock

logger = logging.getLogger(__name__)

FRESH = 0.75
"""A renewal by another slot spares a heartbeat as long as it is no older than this part of the pause between two."""
FIRST_TURN = 0.8
"""The slots of a worker renew at different moments, from this part of the pause on, so that one renews for all."""
SICK_SECONDS = 1.0
"""How long a slot that can start no process keeps out of the way of those that can."""


def perform_isolated(slot: SlotProcess, claim: Claim) -> Settlement:
    """Perform a claimed run and decide what its outcome means."""
    _, job, content = slot.content(claim)
    watch = ClaimWatch(slot, claim, repeatable=content.on_lost != OnLost.FAIL)
    slot.events.send(events.begins(claim, job=job, at=time.time()))
    began = time.monotonic()

    try:
        try:
            report = slot.engine.perform(slot.assignment(claim), watch, deadline=slot.lease_deadline())
        except Unavailable as error:
            report = _not_begun(error)
        seconds = time.monotonic() - began
        inline = watch.keep_rest(report)
    finally:
        watch.close()

    outcome = report.outcome
    slot.events.send(events.ends(claim, outcome, at=time.time(), runtime=seconds))
    logger.info(
        "attempt ended run=%d attempt=%d job=%r verdict=%s reason=%r seconds=%.3f",
        claim.run_id,
        claim.attempt,
        job,
        outcome.verdict,
        outcome.reason,
        seconds,
    )
    settlement = settle(claim, content, outcome, now=datetime.now(UTC), unit=random.random())  # noqa: S311 - jitter
    return with_output(settlement, report, inline=inline, flushed=inline and watch.output.has_rows)


def _not_begun(error: Unavailable) -> Report:
    """Nothing has been done yet, and another worker may be able to do it."""
    logger.error("run handed back, it cannot be performed here error=%s", error)
    if isinstance(error, LauncherEnded):
        logger.error("this worker stops: it can start no process any more, and must be started again")
        os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(SICK_SECONDS)
    return Report(outcome=Outcome(verdict=Verdict.HANDED_BACK, reason=str(error)))


class ClaimWatch:
    """What the engine asks while a run is under way, answered by the database, or by a slot that has just asked it."""

    def __init__(self, slot: SlotProcess, claim: Claim, *, repeatable: bool) -> None:
        self.lease_seconds = deadline_seconds()
        self.output_limit = conf().output_limit
        self.output = OutputKeeper(slot.session, slot.storing, claim)
        self._slot = slot
        self._claim = claim
        self._mine = (claim.run_id, claim.attempt)
        self._repeatable = repeatable
        self._looks = worker.looks()
        self._hurried = False
        self._place = board.place()
        self._place.post(claim)
        turn = FIRST_TURN + (1 - FIRST_TURN) * self._place.turn
        self.heartbeat_seconds = conf().heartbeat.total_seconds() * turn

    def close(self) -> None:
        """The attempt has ended: its lease is not renewed any more."""
        self._place.take_down()

    def heartbeat(self) -> Pulse:
        """Renew the lease, unless another slot just did. Raises Unavailable when the database cannot be reached."""
        sent = self._place.renewed_at(self._claim)
        cancel_requested = lost = False
        if self._hurried or lease_clock() - sent > FRESH * self.heartbeat_seconds:
            sent = lease_clock()
            standing = self._renew([] if self._hurried else list(self._place.others()), sent)
            lost = self._mine not in standing
            cancel_requested = standing.get(self._mine, False)
            self._hurried = False
        return Pulse(
            deadline=sent + self.lease_seconds,
            lost=lost,
            cancel_requested=cancel_requested,
        )

    def _renew(self, others: Sequence[Posted], sent: float) -> Mapping[tuple[int, int], bool]:
        """Renew this claim and those of other slots. Return what the database says of each that stands."""
        if others:
            standing = store.heartbeat(self._slot.session, [self._claim, *others], lease=conf().lease)
            self._place.tell(others, standing, sent=sent)
            if self._mine in standing:
                return standing
        # Alone, it is passed over for nothing but its loss.
        return store.heartbeat(self._slot.session, [self._claim], lease=conf().lease)

    def nudged(self) -> bool:
        """Tell whether there is reason to ask the database before the next heartbeat is due."""
        self._place.alive()
        before, self._looks = self._looks, worker.looks()
        news = self._place.called() or before != self._looks
        self._hurried = self._hurried or news  # until the database has answered
        return news

    def stopping(self) -> bool:
        """Tell whether this worker has given its runs their time, so that the run is to be handed back.

        What must not be repeated is not handed back once it has begun: a stopping worker waits for its end.
        """
        return self._repeatable and worker.out_of_time()

    def flush(self, part: Part) -> None:
        """Keep new output where people can follow it. Raises Unavailable. What the database refuses is not kept."""
        try:
            self.output.keep(part)
        except Refused as error:
            logger.warning("output not kept run=%d error=%s", self._claim.run_id, error)

    def keep_rest(self, report: Report) -> bool:
        """Keep what was not passed on before the work ended. Return whether all output stands in the report instead."""
        next_beat = lease_clock()
        deadline = next_beat + self.lease_seconds - self.heartbeat_seconds

        def go_on() -> bool:
            nonlocal next_beat, deadline
            self._place.alive()
            now = lease_clock()
            if now >= next_beat:
                next_beat = now + 1.0
                with suppress(Unavailable):
                    pulse = self.heartbeat()
                    deadline = 0.0 if pulse.lost else pulse.deadline
                    next_beat = max(next_beat, pulse.deadline - self.lease_seconds + self.heartbeat_seconds)
            return now < deadline

        return self.output.finish(report, go_on=go_on)
