"""A thread of each slot that writes chunks of output to the output store.

The store may take long to answer, or be full. Neither must keep the slot from its heartbeats, nor its run from its end.
"""

from __future__ import annotations

import logging
import socket
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Final

from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.core.files.storage import InvalidStorageError

from jobs.output_storage import output_name, output_storage, store_token
from jobs.store import outputs
from jobs.store.outputs import Waiting
from jobs.store.session import Session
from jobsched.domain.errors import Unavailable

logger = logging.getLogger(__name__)

PAUSE_SECONDS: Final = 10.0
"""How long after a failure the store is left alone."""
TIDY_EVERY_SECONDS: Final = 60.0
_TIDY_SECONDS: Final = 5.0
_ATTEMPTS_AT_ONCE: Final = 100


class Storing:
    """Stores one chunk at a time, of any attempt."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="output")
        self._work: Future[object] | None = None
        self._failed_at = float("-inf")
        self._tidied_at = time.monotonic()
        self.store: int | None = None
        """The number of the output store where that is on this host's disk."""

    @property
    def is_free(self) -> bool:
        """The thread does nothing, and the store has not just failed."""
        idle = self._work is None or self._work.done()
        return idle and time.monotonic() - self._failed_at >= PAUSE_SECONDS

    def start(self, chunk: Waiting) -> Future[str | None]:
        """Store a chunk. The answer is its key, or None if the store did not take it."""
        work = self._thread.submit(self._store, chunk)
        self._work = work  # type: ignore[assignment]
        return work

    def register(self, session: Session) -> None:
        """Note in the database where this host keeps output. Raises Unavailable."""
        try:
            token = store_token(create=True)
        except (OSError, InvalidStorageError, ImproperlyConfigured) as error:
            logger.warning("output store cannot be used error=%s", error)
            return
        self.store = None if token is None else outputs.register_store(session, token, host=socket.gethostname())

    def discard(self, key: str) -> None:
        """Remove an object that belongs to no attempt. What is left is removed by `clean_output`."""
        self._thread.submit(_delete, key)

    def tidy(self, session: Session) -> None:
        """Once a minute, begin to store what the store did not take while its attempts were under way."""
        if time.monotonic() - self._tidied_at < TIDY_EVERY_SECONDS or not self.is_free:
            return
        self._tidied_at = time.monotonic()
        try:
            self.register(session)
            if outputs.ended_with_waiting(session, limit=1):
                self._work = self._thread.submit(self._tidy)
        except Unavailable as error:
            logger.warning("output not moved to its store error=%s", error)

    def _store(self, chunk: Waiting) -> str | None:
        try:
            name = output_name(chunk.run_id, chunk.attempt, chunk.start)
            return str(output_storage().save(name, ContentFile(chunk.data)))
        except Exception as error:  # storages of other packages raise errors of their own, which may name accounts
            self._failed_at = time.monotonic()
            why = str(error) if isinstance(error, OSError) else type(error).__name__
            logger.warning(
                "output store refused a chunk, it stays in the database run=%d attempt=%d start=%d error=%s",
                chunk.run_id,
                chunk.attempt,
                chunk.start,
                why,
            )
            return None

    def _tidy(self) -> None:
        session = Session()
        stop = time.monotonic() + _TIDY_SECONDS
        try:
            for run_id, attempt in outputs.ended_with_waiting(session, limit=_ATTEMPTS_AT_ONCE):
                while time.monotonic() < stop and (chunk := outputs.waiting(session, run_id, attempt)):
                    key = self._store(chunk)
                    if key is None:
                        return
                    if not outputs.record_stored(session, chunk, key=key, store=self.store):
                        _delete(key)
        except Unavailable as error:
            logger.warning("output not moved to its store error=%s", error)
        finally:
            session.close()

    def close(self) -> None:
        """Let the thread end; a store that does not answer is not waited for."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _delete(key: str) -> None:
    with suppress(Exception):
        output_storage().delete(key)
