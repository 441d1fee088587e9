"""The scheduler class for `celery beat`: beat stays the process, `tick` is ours.

Any number of beats may run. None leads: each tick looks for due rows that no other beat holds.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from celery.beat import Scheduler
from celery.signals import beat_init
from django.db import DatabaseError, close_old_connections, connection, connections

from jobs import messages
from jobs.celery_settings import OF_BEATS, problems
from jobs.conf import conf
from jobs.services import configured, liveness, recovery, scheduling, tidying
from jobs.services.scheduling import Agenda
from jobsched.shim.lease import lease_clock
from jobsched.shim.users import give_up_root

logger = logging.getLogger(__name__)

T = TypeVar("T")

IDLE_SECONDS = 0.5
"""The longest pause between two looks at the database: edits are seen, retries promoted and leases reaped by then."""
SWEEP_SECONDS = 1.0
"""How often hints are repeated for queues with work, and how often a beat notes that it is there."""
BREATH_SECONDS = 0.05
"""The shortest pause when something is due that could not be done, e.g. a schedule that somebody is editing."""
TIDY_SECONDS = 60.0
"""How often a beat looks for what requests to apply files have left behind."""
HEALTH_SECONDS = 3.0
"""How often a beat shows that it is well."""
SHORTEST_SECONDS = 0.01
"""The shortest pause before an instant: it is not worth a tick of its own to be on time to the millisecond."""
BATCHES_AT_ONCE = 10
"""Before a beat looks at anything else."""
RUSH_SECONDS = 1.0
"""No batch begins later than this: a beat that does not note for some seconds that it is there may judge no lease."""
STANDSTILL_SECONDS = 5.0
"""A beat that waits so long between two ticks was frozen, and the workers on its host may have been, too."""
AFTER_STANDSTILL_SECONDS = 3.0
"""How long leases are not judged then: workers that were frozen with the beat first end work whose lease is over."""


@beat_init.connect
def _give_up_root(**_: Any) -> None:
    """Go on as the service user, in projects whose Celery application does not see to it. Nothing is connected yet."""
    give_up_root()


class _Rehearsed(threading.local):
    on: object = None
    """The connection of this thread that has fired nothing already."""


class JobScheduler(Scheduler):
    """Serves every django-celery-beat PeriodicTask. Set it with `celery beat -S jobs.beat:JobScheduler`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._configured = False
        super().__init__(*args, **kwargs)
        # Here, as Celery uses the broker's address next. It exits with a sentence for each setting that is refused.
        if found := [problem.sentence for problem in problems(self.app) if problem.id in OF_BEATS]:
            sys.exit("\n".join(found))
        self._idle_seconds = min(float(self.max_interval or IDLE_SECONDS), IDLE_SECONDS)
        self._swept_at = 0.0
        self._tidied_at = time.monotonic()
        self._ticked_at = float("inf")
        self._thawed_at = float("-inf")
        self._shown_at = float("-inf")
        self._failed = False
        self._second = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fire")
        self._rehearsed = _Rehearsed()

    def setup_schedule(self) -> None:
        """Nothing is loaded: the rows stay in the database, however many there are."""

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Do all that is due. Return how many seconds may pass before the next look.

        A database or broker that cannot be reached is logged in one line and tried again.
        """
        self._note_standstill()
        try:
            return self._tick()
        finally:
            self._ticked_at = lease_clock()

    def _note_standstill(self) -> None:
        now = lease_clock()
        if now - self._ticked_at > STANDSTILL_SECONDS:
            self._thawed_at = now

    def _tick(self) -> float:
        close_old_connections()
        self._failed = False
        if not self._configured:
            self._configured = self._try(self._install) is not None
        asked_at = time.monotonic()
        agenda = self._try(scheduling.agenda)
        handled = agenda is not None and self._do(agenda)
        if time.monotonic() - self._swept_at >= SWEEP_SECONDS:
            self._swept_at = time.monotonic()
            self._try(recovery.note_beat)
            self._try(recovery.sweep)
            if agenda is not None and not handled:
                self._try(self._rehearse)
            self._tidy()
            self._show_health()
        if handled:
            return 0.0
        return self._pause(agenda, time.monotonic() - asked_at)

    def _tidy(self) -> None:
        if time.monotonic() - self._tidied_at >= TIDY_SECONDS:
            self._tidied_at = time.monotonic()
            self._try(tidying.tidy)

    def _show_health(self) -> None:
        path = conf().beat_health_file
        if path and not self._failed and time.monotonic() - self._shown_at >= HEALTH_SECONDS:
            self._shown_at = time.monotonic()
            liveness.show(path)

    def _install(self) -> bool:
        configured.install(self.app)
        return True

    def _do(self, agenda: Agenda) -> bool:
        """Do what is on the agenda. Return whether anything of it was done."""
        handled = 0
        steps: tuple[tuple[bool, Callable[[], int | None]], ...] = (
            (agenda.stale, scheduling.refresh_edited),
            (agenda.due_jobs, self._rush if agenda.rush else scheduling.fire_due),
            (agenda.due_runs, recovery.promote),
            (agenda.due_tasks, scheduling.send_due),
            (agenda.expired and self._may_judge_leases(), recovery.reap),
            (agenda.overdue, recovery.give_up),
            (agenda.held, recovery.admit),
        )
        for wanted, step in steps:
            if wanted:
                done = self._try(step)
                handled += done or 0
        return handled > 0

    def _may_judge_leases(self) -> bool:
        """Tell whether the workers of this host have had a moment since it was frozen."""
        return lease_clock() - self._thawed_at >= AFTER_STANDSTILL_SECONDS

    def _rehearse(self) -> bool:
        """Let the connections of both threads be ready for a rush: on a new one, all is slow that is done first."""
        other = self._second.submit(self._rehearse_here)
        try:
            self._rehearse_here()
        finally:
            other.result()
        return True

    def _rehearse_here(self) -> None:
        close_old_connections()
        known = connection.connection is not None and connection.connection is self._rehearsed.on
        if known or connection.settings_dict["CONN_MAX_AGE"] == 0:  # else none would outlive the next tick
            return
        try:
            scheduling.rehearse()
        except DatabaseError:
            connection.close()
            raise
        self._rehearsed.on = connection.connection

    def _rush(self) -> int:
        """Fire many batches in two threads: the database works for one of them while the other reckons."""
        others = self._second.submit(self._fire_batches)
        try:
            fired = self._fire_batches()
        finally:
            fired_by_others = others.result()
        return fired + fired_by_others

    def _fire_batches(self) -> int:
        """Fire up to BATCHES_AT_ONCE batches within about RUSH_SECONDS. Retries and leases have their turn then."""
        close_old_connections()  # this thread's own may have gone stale since the last rush
        fired, latest = 0, time.monotonic() + RUSH_SECONDS
        try:
            for number in range(BATCHES_AT_ONCE):
                limit = scheduling.SMALL_BATCH if number < 2 else scheduling.BATCH
                batch = scheduling.fire_due(limit=limit)
                fired += batch
                if batch < limit or time.monotonic() > latest:
                    break
        except DatabaseError:
            connection.close()
            raise
        return fired

    def _try(self, step: Callable[[], T]) -> T | None:
        try:
            return step()
        except DatabaseError as error:
            connection.close()
            logger.error("beat cannot use the database, trying again step=%s error=%s", step.__name__, error)
        except messages.BROKER_ERRORS as error:
            logger.error("beat cannot reach the broker, trying again step=%s error=%s", step.__name__, error)
        except Exception:
            # Whatever is wrong with one step must not stop the others, nor this beat.
            logger.exception("beat met an error it does not know, trying again step=%s", step.__name__)
        self._failed = True
        return None

    def _pause(self, agenda: Agenda | None, since: float) -> float:
        """Return how long to wait. The agenda was made `since` seconds ago."""
        if agenda is None or agenda.seconds_to_next is None or self._failed:
            return self._idle_seconds
        if agenda.seconds_to_next <= 0:
            return BREATH_SECONDS
        return min(max(agenda.seconds_to_next - since, SHORTEST_SECONDS), self._idle_seconds)

    def sync(self) -> None:
        """Nothing is held back: each tick commits what it did."""

    def close(self) -> None:
        """Called when beat stops."""
        with suppress(RuntimeError):  # Celery closes twice, and then there is no second thread any more
            self._second.submit(connections.close_all)
        self._second.shutdown()
        connection.close()

    @property
    def info(self) -> str:
        return "    . schedules -> the database, shared with any number of beats"
