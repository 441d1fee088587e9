"""Finds out in a worker's main process whether the worker can reach the database.

As long as slots get answers, nothing is asked. Otherwise a thread opens a connection and closes it again, so that an
idle worker keeps no connection of its own. What it finds is in `jobs.worker.cut_off_since`; the log has one line when
an outage begins, one a minute while it lasts, and one when it ends.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from jobs import worker
from jobs.store import session
from jobsched.domain.errors import Unavailable
from jobsched.shim.lease import lease_clock

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.5
"""How often it is decided whether to ask the database. It is also the pause between two questions in an outage."""
TRUSTED_SECONDS: Final = 5.0
"""How long an answer shows that the database can be reached."""
REPEAT_SECONDS: Final = 60.0
"""How often an outage that goes on is logged."""


class DatabaseWatch:
    """One outage after the other. `look` is called every LOOK_SECONDS; `probe` raises Unavailable."""

    def __init__(self, *, probe: Callable[[], None], clock: Callable[[], float] = lease_clock) -> None:
        self._probe = probe
        self._clock = clock
        self._reached_at = clock()
        self._logged_at = float("-inf")
        self._broken_logged_at = float("-inf")

    def look(self) -> None:
        """Ask the database if there is reason to, and note what was found."""
        if not self._must_ask():
            return
        asked_at = self._clock()
        failure = self._failure()
        if failure is None:
            self._reached(asked_at)
        elif worker.last_answer() <= asked_at:  # slots that have connections may still be served
            self._not_reached(asked_at, failure)

    def _must_ask(self) -> bool:
        if worker.cut_off_since() is not None:
            return True
        last = max(worker.last_answer(), self._reached_at)
        return worker.last_failure() > last or self._clock() - last > TRUSTED_SECONDS

    def _failure(self) -> Exception | None:
        try:
            self._probe()
        except Unavailable as error:
            return error
        except Exception as error:  # e.g. wrong settings: whatever it is, slots cannot connect either
            return error
        return None

    def _reached(self, asked_at: float) -> None:
        since, failed_at = worker.cut_off_since(), worker.last_failure()
        if since is not None:
            logger.warning(
                "PostgreSQL can be reached again, this worker takes runs again seconds=%.1f", self._clock() - since
            )
            worker.set_cut_off(None)
            self._broken_logged_at = asked_at  # slots are about to find that their connections broke in the outage
        elif failed_at > self._reached_at and asked_at - self._broken_logged_at > REPEAT_SECONDS:
            self._broken_logged_at = asked_at
            logger.warning("a slot lost its connection to PostgreSQL or could not open one; PostgreSQL answers")
        self._reached_at = asked_at

    def _not_reached(self, asked_at: float, error: Exception) -> None:
        since = worker.cut_off_since()
        if since is None:
            worker.set_cut_off(asked_at)
            self._logged_at = asked_at
            logger.error("PostgreSQL cannot be reached: this worker takes no runs until it can error=%s", _line(error))
        elif asked_at - self._logged_at >= REPEAT_SECONDS:
            self._logged_at = asked_at
            logger.error(
                "PostgreSQL still cannot be reached: this worker takes no runs seconds=%.0f error=%s",
                asked_at - since,
                _line(error),
            )


def start() -> None:
    """Start the thread that watches, in a worker's main process."""
    watch = DatabaseWatch(probe=session.probe)
    threading.Thread(target=_watch_for_ever, args=(watch,), name="database-watch", daemon=True).start()


def _watch_for_ever(watch: DatabaseWatch) -> None:
    pause = threading.Event()
    while True:
        watch.look()
        pause.wait(LOOK_SECONDS)


def _line(error: Exception) -> str:
    """Return what an error says, in one line: libpq writes several."""
    return " ".join(str(error).split())
