"""Keeps what an attempt prints: in the database while it is new, and chunk by chunk in the output store."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

from jobs.services.running.storing import Storing
from jobs.store import outputs
from jobs.store.claims import Claim
from jobs.store.outputs import CHUNK_BYTES, INLINE_BYTES, Waiting, is_storable_text
from jobs.store.session import Refused, Session
from jobsched.domain.errors import Unavailable
from jobsched.domain.outcomes import Part, Report

logger = logging.getLogger(__name__)

STORE_SECONDS: Final = 10.0
"""How long an attempt that has ended waits for the store to take the rest of its output. What it has not taken by then
stays in the database, and is stored later."""
_LOOK_SECONDS: Final = 0.05
_RETRY_SECONDS: Final = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class _Storing:
    chunk: Waiting
    key: Future[str | None]


class OutputKeeper:
    """For one attempt. Every method is called in the thread of the slot's session."""

    def __init__(self, session: Session, storing: Storing, claim: Claim) -> None:
        self._session = session
        self._storing = storing
        self._claim = claim
        self._final_stop = 0
        """Output before this offset is not replaced any more."""
        self._stored_stop = 0
        self._at_work: _Storing | None = None
        self.has_rows = False

    def keep(self, part: Part) -> None:
        """Keep a part in the database, and store what makes a chunk. Raises Unavailable."""
        self.has_rows = True  # also if it is not known whether this was committed
        outputs.keep(self._session, self._claim, part)
        if part.final:
            self._final_stop = part.stop
        self.store()

    def store(self, *, least: int = CHUNK_BYTES) -> None:
        """Record what the store has taken, and let it take the next chunk of at least so many bytes.

        Raises Unavailable.
        """
        if self._at_work is not None:
            if not self._at_work.key.done():
                return
            self._record(self._at_work)
        if self._final_stop - self._stored_stop < least or not self._storing.is_free:
            return
        chunk = outputs.waiting(
            self._session,
            self._claim.run_id,
            self._claim.attempt,
            start=self._stored_stop,
            stop=self._final_stop,
        )
        if chunk is None:  # the claim is lost, and its rows may be gone
            self._stored_stop = self._final_stop
        else:
            self._at_work = _Storing(chunk=chunk, key=self._storing.start(chunk))

    def _record(self, done: _Storing) -> None:
        key = done.key.result()
        if key is not None:
            if not outputs.record_stored(self._session, done.chunk, key=key, store=self._storing.store):
                self._storing.discard(key)
            self._stored_stop = done.chunk.stop
        self._at_work = None

    def finish(self, report: Report, *, go_on: Callable[[], bool]) -> bool:
        """Keep the rest of an attempt that has ended. Return whether all its output stands in the report instead.

        `go_on` is called all the time: it renews the lease and tells whether it still stands.
        """
        if fits_inline(report):
            return True
        for part in report.output_rest:
            while not self._kept(part):
                if not go_on():
                    logger.error("end of output not kept run=%d attempt=%d", self._claim.run_id, self._claim.attempt)
                    return False
                time.sleep(_RETRY_SECONDS)
        self._final_stop = report.output_total
        self._store_rest(go_on)
        return False

    def _kept(self, part: Part) -> bool:
        try:
            outputs.keep(self._session, self._claim, part)
        except Unavailable:
            return False
        except Refused as error:
            logger.warning("end of output not kept run=%d error=%s", self._claim.run_id, error)
        return True

    def _store_rest(self, go_on: Callable[[], bool]) -> None:
        give_up = time.monotonic() + STORE_SECONDS
        while self._stored_stop < self._final_stop and time.monotonic() < give_up and go_on():
            try:
                self.store(least=1)
            except Unavailable:
                time.sleep(_RETRY_SECONDS)
            if self._at_work is None and not self._storing.is_free:  # the store has failed
                return
            if self._at_work is not None and not self._at_work.key.done():
                time.sleep(_LOOK_SECONDS)


def fits_inline(report: Report) -> bool:
    """Tell whether all output can stand in the row of its attempt."""
    return report.output_total <= INLINE_BYTES and is_storable_text(report.output)
