"""Perform trusted callables in the slot itself: thousands a second, at the price of isolation.

A second thread watches. When a batch takes long, it records what has ended, hands back what has not begun and
renews the lease of the run in hand. It enforces time limits: first by an exception in the callable, then, since
nothing can end a thread from outside, by ending the slot, which Celery replaces. A third thread ends the slot when the
lease of the run in hand was not renewed in time: the second may be waiting for the database then.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import threading
import time
from collections import deque
from datetime import UTC, datetime
from types import FrameType
from typing import Final

from jobs import worker
from jobs.conf import conf
from jobs.messages import Event
from jobs.services.running import events
from jobs.services.running.recording import settle_and_claim
from jobs.services.running.settling import settle
from jobs.services.running.slot import SlotProcess, deadline_seconds
from jobs.store import claims as store
from jobs.store.claims import Claim, Settlement
from jobs.store.session import Session
from jobsched.domain.errors import CancelRequested, TimeLimitExceeded, Unavailable, WorkerStopping
from jobsched.domain.outcomes import Assignment, Outcome, Verdict
from jobsched.domain.retry import OnLost
from jobsched.engine.reasons import NOT_STARTED_IN_TIME
from jobsched.executors.python import perform_in_process
from jobsched.shim.lease import LeaseEnded, lease_clock

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.25
HOLD_UP_SECONDS = 1.0
"""After this long the run in hand must not make the rest of its batch wait: results for their record, runs for
their turn. Far below any lease, so that only the run in hand ever needs a renewal."""

_STOPPING = Outcome(verdict=Verdict.HANDED_BACK, reason="the worker is stopping")
_LEASE_ENDED = Outcome(verdict=Verdict.HANDED_BACK, reason=NOT_STARTED_IN_TIME)
_HELD_UP = Outcome(verdict=Verdict.HANDED_BACK, reason="a longer run held up its batch")

_SENTENCES: Final[dict[type[Exception], str]] = {
    TimeLimitExceeded: "the run's time limit was reached",
    CancelRequested: "the run was cancelled",
    WorkerStopping: "the worker of this run is stopping",
}


def _finished_first(interrupt: type[Exception], outcome: Outcome) -> bool:
    """Tell whether a run that was to be handed back had been performed by then."""
    return interrupt is WorkerStopping and outcome.verdict is Verdict.SUCCEEDED


def perform_inline(slot: SlotProcess, claims: list[Claim]) -> list[Settlement]:
    """Perform claimed in-process runs one after the other and decide what their outcomes mean."""
    return _inline_of_this_process(slot).perform(claims)


_inline: Inline | None = None


def _inline_of_this_process(slot: SlotProcess) -> Inline:
    global _inline
    if _inline is None:
        _inline = Inline(slot)
    return _inline


class Inline:
    """One batch at a time, and the thread that watches it."""

    def __init__(self, slot: SlotProcess) -> None:
        self._slot = slot
        self._lock = threading.Lock()
        self._waiting: deque[Claim] = deque()
        self._ended: list[Settlement] = []
        self._events: list[Event] = []
        self._began = 0.0
        self._current: Claim | None = None
        self._current_began = 0.0
        self._current_work: Assignment | None = None
        self._interrupt: type[Exception] | None = None
        self._renewed_at = 0.0
        self._begin_recorded = False
        self._looks = worker.looks()
        self._busy = threading.Event()
        signal.signal(signal.SIGALRM, self._raise_in_callable)
        for task, name in ((self._watch, "inline-watch"), (self._keep_deadline, "inline-deadline")):
            threading.Thread(target=task, name=name, daemon=True).start()

    def perform(self, claims: list[Claim]) -> list[Settlement]:
        """Perform a batch. What was recorded meanwhile is missing from the answer."""
        for waiting in claims:
            self._slot.content(waiting)  # loaded here: the watching thread must not use the slot's session
        with self._lock:
            self._waiting = deque(claims)
            self._ended = []
            self._events = []
            self._began = lease_clock()
        self._busy.set()
        while (claim := self._next()) is not None:
            self._perform_one(claim)
        self._busy.clear()
        self._slot.events.send(self._events)
        return self._ended

    def _next(self) -> Claim | None:
        with self._lock:
            if not self._waiting:
                return None
            claim = self._waiting.popleft()
            self._interrupt = None
            self._current_work = self._slot.assignment(claim)
            self._current_began = lease_clock()
            self._begin_recorded = False
            self._renewed_at = self._slot.claimed_at  # no renewal of an earlier run is one of this run
            self._current = None if worker.stopping() else claim
        return claim

    def _perform_one(self, claim: Claim) -> None:
        _, job, content = self._slot.content(claim)
        work = self._current_work or self._slot.assignment(claim)
        outcome = _STOPPING
        began = time.time()
        if self._current is not None:
            try:
                try:
                    outcome = perform_in_process(work, start_work=self._check_lease)
                except LeaseEnded:
                    outcome = _LEASE_ENDED
                finally:
                    self._current = None  # from here on the signal raises nothing
            except tuple(_SENTENCES) as error:
                # The signal came between the callable's end and the line above.
                outcome = Outcome(verdict=Verdict.FAILED, reason=str(error))
        with self._lock:
            if self._interrupt is not None and not _finished_first(self._interrupt, outcome):
                outcome = self._interrupted(work)
            if self._slot.events.enabled:
                now = time.time()
                self._events += events.begins(claim, job=job, at=began)
                self._events += events.ends(claim, outcome, at=now, runtime=now - began)
            self._ended.append(
                settle(claim, content, outcome, now=datetime.now(UTC), unit=random.random())  # noqa: S311 - jitter
            )

    def _check_lease(self) -> None:
        """Raise LeaseEnded if the lease of the current run has ended: this process may have been frozen meanwhile."""
        if lease_clock() >= self._renewed_at + deadline_seconds():
            raise LeaseEnded(NOT_STARTED_IN_TIME)

    def _interrupted(self, work: Assignment) -> Outcome:
        if self._interrupt is CancelRequested:
            return Outcome(verdict=Verdict.CANCELLED, reason="cancelled while it ran")
        if self._interrupt is WorkerStopping:
            return _STOPPING
        return Outcome(verdict=Verdict.TIMED_OUT, reason=work.why_timed_out)

    def _raise_in_callable(self, signum: int, frame: FrameType | None) -> None:
        """In the main thread, on SIGALRM from the watching thread."""
        if self._current is not None and self._interrupt is not None:
            raise self._interrupt(_SENTENCES[self._interrupt])

    def _watch(self) -> None:
        session = Session()
        while True:
            if not self._busy.is_set():
                session.close()  # few batches take so long that this session is needed at all
                self._busy.wait()
            time.sleep(LOOK_SECONDS)
            if self._busy.is_set():
                try:
                    self._look(session, lease_clock())
                except Unavailable as error:  # the main process logs that there is an outage, once for all slots
                    logger.debug("in-process batch not renewed error=%s", error)
                except Exception:  # nobody else would renew or end the run in hand
                    logger.exception("in-process batch not looked after, trying again")

    def _keep_deadline(self) -> None:
        """End this process when the lease of the run in hand ends. Waits for no lock and for no server."""
        while True:
            self._busy.wait()
            time.sleep(LOOK_SECONDS)
            current = self._current
            overdue = lease_clock() > self._renewed_at + deadline_seconds()
            # Asked again: the next run of the batch may have begun between the two lines, and its lease with it.
            if overdue and current is not None and current is self._current:
                logger.error("slot ended: the lease of its in-process run was not renewed run=%d", current.run_id)
                os._exit(70)

    def _look(self, session: Session, now: float) -> None:
        with self._lock:
            current, work, took = self._current, self._current_work, now - self._current_began
            if current is None or work is None:
                return
        # First what needs no database: it may be away.
        if worker.out_of_time() and self._slot.content(current)[2].on_lost != OnLost.FAIL:
            self._interrupt_current(current, WorkerStopping)
        if work.limit_seconds is not None and took > work.limit_seconds:
            self._interrupt_current(current, TimeLimitExceeded)
            if took > work.limit_seconds + work.grace_seconds:
                self._end_slot(session, current)
        looks, self._looks = self._looks, worker.looks()
        if looks != self._looks or now - self._renewed_at > conf().heartbeat.total_seconds():
            self._renew(session, current)
        if now - self._began > HOLD_UP_SECONDS:
            with self._lock:
                if current is self._current:
                    self._part_from(session, current)

    def _part_from(self, session: Session, current: Claim) -> None:
        """Under the lock: record all of the batch except for the current run; what cannot be recorded now is kept.

        It is recorded that the current run has begun: if it is lost from now on, that counts.
        """
        if not self._begin_recorded:
            store.record_begin(session, current)
            self._begin_recorded = True
        self._hand_back_waiting()
        if self._ended:
            settle_and_claim(session, self._ended, None, actor=self._slot.name)
            self._ended = []

    def _hand_back_waiting(self) -> None:
        self._ended += [
            settle(c, self._slot.content(c)[2], _HELD_UP, now=datetime.now(UTC), unit=0.0) for c in self._waiting
        ]
        self._waiting.clear()

    def _renew(self, session: Session, current: Claim) -> None:
        sent = lease_clock()
        standing = store.heartbeat(session, [current], lease=conf().lease)
        stands = (current.run_id, current.attempt) in standing
        with self._lock:
            if current is not self._current:  # it has ended meanwhile, and its claim with it
                return
            if stands:
                self._renewed_at = sent
        if not stands:
            logger.error("in-process run lost its lease, ending the slot run=%d", current.run_id)
            self._end_slot(session, None)
        if standing[current.run_id, current.attempt]:
            self._interrupt_current(current, CancelRequested)

    def _interrupt_current(self, claim: Claim, error: type[Exception]) -> None:
        with self._lock:
            if self._current is not claim or self._interrupt is not None:
                return
            self._interrupt = error
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)

    def _end_slot(self, session: Session, overran: Claim | None) -> None:
        """Record what ended, and the run that does not end, then end this process. Returns only if that has ended."""
        with self._lock:
            if overran is not None and overran is not self._current:
                return
            if overran is not None:
                content = self._slot.content(overran)[2]
                why = self._current_work.why_timed_out if self._current_work else ""
                outcome = Outcome(
                    verdict=Verdict.TIMED_OUT, reason=f"{why} and it could not be interrupted; its slot was ended"
                )
                self._ended.append(settle(overran, content, outcome, now=datetime.now(UTC), unit=random.random()))  # noqa: S311
            self._hand_back_waiting()
            try:
                settle_and_claim(session, self._ended, None, actor=self._slot.name)
            finally:
                logger.error("slot ended: an in-process run could not be interrupted")
                os._exit(70)
