"""Turn due instants into runs. Any number of beats may do so at once: rows decide, not processes."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from amqp.exceptions import IrrecoverableChannelError
from django.db import transaction
from kombu.exceptions import EncodeError

from jobs import messages
from jobs.models import Run
from jobs.rules import first_after
from jobs.store import births, schedules
from jobs.store.births import Birth
from jobs.store.schedules import Advance, Entry
from jobs.store.session import django_connection
from jobsched.domain.states import State

logger = logging.getLogger(__name__)

BATCH: Final = 500
"""Schedules in one transaction: enough to spread its cost, few enough that other beats find some too."""
SEND_BATCH: Final = 50
"""The same for messages of plain Celery tasks: this many may be sent twice when the broker fails half-way."""
LATE: Final = timedelta(minutes=1)
"""An instant this late is still fired as if on time; beats that were away for longer have misfired."""
CATCH_UP_WINDOW: Final = timedelta(days=1)
"""Of the instants missed while no beat ran, the latest is fired if it is younger than this."""
COUNT_LIMIT: Final = 100_000
"""Missed instants are counted up to here; a second-by-second schedule misses as many in a day."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fires:
    """What became of the due instants of one schedule."""

    fire: tuple[datetime, ...]
    missed: tuple[datetime, datetime, int] | None
    """first, last, how many"""
    next_fire_at: datetime | None


def refresh_edited(*, limit: int = BATCH) -> int:
    """Work out the next instant of schedules that were made or edited. Return how many there were."""
    with transaction.atomic():
        entries = schedules.lock_stale(django_connection, limit=limit)
        schedules.advance(
            django_connection,
            [Advance(id=e.id, cursor=e.cursor, next_fire_at=first_fire(e)) for e in entries],
        )
    return len(entries)


def fire_due(*, limit: int = BATCH) -> int:
    """Make the runs of jobs that are due, and advance their schedules, in one transaction; hints follow its commit.

    Return how many schedules were due. No broker is needed.
    """
    with transaction.atomic():
        entries = schedules.lock_due(django_connection, of_jobs=True, limit=limit)
        plans = [(entry, due(entry)) for entry in entries]
        born = births.create(
            django_connection,
            [birth for entry, fires in plans if entry.job_id for birth in _births(entry, entry.job_id, fires)],
        )
        schedules.advance(django_connection, [_advance(entry, fires) for entry, fires in plans])
        messages.hint_on_commit(Counter(run.queue for run in born if run.state is State.QUEUED))
    if entries:
        logger.info("fired schedules=%d runs=%d", len(entries), len(born))
    return len(entries)


def send_due(*, limit: int = SEND_BATCH) -> int:
    """Send the messages of due schedules that name plain Celery tasks. Return how many schedules were due.

    Sent before the commit: if the broker refuses, the rollback keeps the instants due and the next tick tries
    again. A message may so be sent twice, and is never lost. Raises what the broker's connection raises.
    """
    with transaction.atomic():
        entries = schedules.lock_due(django_connection, of_jobs=False, limit=limit)
        plans = [(entry, due(entry)) for entry in entries]
        schedules.advance(django_connection, [_advance(entry, fires) for entry, fires in plans])
        for entry, fires in plans:
            if fires.fire:
                _send(entry)
    return len(entries)


def _send(entry: Entry) -> None:
    try:
        messages.send(entry.message)
    except (ValueError, TypeError, EncodeError, IrrecoverableChannelError) as error:
        # Its columns hold what cannot become a message, or name an exchange that the broker does not have or open to
        # us. Trying again would hold up those behind it, and send those before it once more.
        logger.error("plain task not sent, its row makes no sense schedule=%r error=%s", entry.name, error)


def seconds_to_next() -> float | None:
    """Return how long until the next schedule or waiting run is due (negative when overdue), if any is."""
    return schedules.seconds_to_next(django_connection)


def first_fire(entry: Entry) -> datetime | None:
    """Return the first instant of a schedule after those it is accounted for, or None when there is none."""
    return first_after(entry.rule, entry.cursor) if entry.enabled else None


def due(entry: Entry) -> Fires:
    """Decide what becomes of a due schedule's instants up to now.

    Instants up to a minute late all fire. Older ones were missed; they are counted, and when nothing
    younger is due the latest of them is fired if it lies within the catch-up window.
    """
    instants: list[datetime] = []
    instant = entry.next_fire_at
    while instant is not None and instant <= entry.now and len(instants) < COUNT_LIMIT:
        instants.append(instant)
        if entry.one_off:
            return _sorted_out(entry, instants, upcoming=None)
        instant = first_after(entry.rule, instant)
    return _sorted_out(entry, instants, upcoming=instant)


def _sorted_out(entry: Entry, instants: list[datetime], *, upcoming: datetime | None) -> Fires:
    fire = [instant for instant in instants if instant > entry.now - LATE]
    if not fire and instants[-1] > entry.now - CATCH_UP_WINDOW:
        fire = instants[-1:]
    missed = instants[: len(instants) - len(fire)]
    return Fires(
        fire=tuple(fire),
        missed=(missed[0], missed[-1], len(missed)) if missed else None,
        next_fire_at=upcoming,
    )


def _births(entry: Entry, job_id: int, fires: Fires) -> list[Birth]:
    def birth(instant: datetime, skip_reason: str | None) -> Birth:
        return Birth(
            job_id=job_id,
            trigger=Run.Trigger.SCHEDULE,
            schedule_id=entry.id,
            scheduled_for=instant,
            skip_reason=skip_reason,
        )

    made = [birth(instant, "the job is paused" if entry.job_paused else None) for instant in fires.fire]
    if fires.missed:
        first, last, count = fires.missed
        made.append(
            birth(
                first,
                f"missed: no beat was running at {count} instant{'s' if count > 1 else ''} "
                f"from {first:%Y-%m-%d %H:%M:%S} to {last:%Y-%m-%d %H:%M:%S} UTC",
            )
        )
    return made


def _advance(entry: Entry, fires: Fires) -> Advance:
    seen = [*fires.fire, *((fires.missed[1],) if fires.missed else ())]
    return Advance(
        id=entry.id,
        cursor=max(seen),
        next_fire_at=fires.next_fire_at,
        fired=len(fires.fire),
        finished=entry.one_off,
    )
