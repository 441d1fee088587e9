"""Turn due instants into runs. Any number of beats may do so at once: rows decide, not processes."""

from __future__ import annotations

import logging
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from django.db import transaction

from jobs import messages
from jobs.conf import conf
from jobs.models import Run, Schedule
from jobs.rules import excluded, first_after, former_rule, instants, jitter, timetable
from jobs.store import births, limits, schedules
from jobs.store.births import Birth
from jobs.store.schedules import Advance, Agenda, Entry, Unrecorded
from jobs.store.session import django_connection, short_transaction, still_here
from jobsched.domain.states import State
from jobsched.domain.timetables import Every

__all__ = ["Agenda", "Fires", "Skip", "agenda", "due", "fire_due", "refresh_edited", "rehearse", "send_due"]

logger = logging.getLogger(__name__)

BATCH: Final = 500
"""Schedules in one transaction: enough to spread its cost, few enough that other beats find some too."""
SMALL_BATCH: Final = 250
"""More than this are a rush. Its first batches are as small, so that what is due together starts together."""
SEND_BATCH: Final = 200
"""The same for messages of plain Celery tasks: this many may be sent twice when the broker fails half-way."""
LATE: Final = timedelta(minutes=1)
"""When the oldest instant a schedule owes is later than this, no beat was there: its catch-up rule decides."""
COUNT_LIMIT: Final = 200_000
"""At most so many missed instants are walked at once: a few seconds, and four months of minutes. Those beyond are for
the next tick."""
SIGN_EACH: Final = 1_000
"""So many instants are walked within the time that the database waits, also on a busy machine."""
PUBLISH_SECONDS: Final = 15
"""A broker may take its time to confirm a batch."""
UNSEEN_COUNT_LIMIT: Final = 10_000
"""At most so many instants are counted of a rule that was changed before a beat looked at it."""
AHEAD_LIMIT: Final = 10_000
"""At most so many instants of a blackout are recorded in one skipped run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Skip:
    """Instants that are not run, from the first to the last, and why."""

    first: datetime
    last: datetime
    count: int
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Fires:
    """What becomes of the instants that a schedule owes."""

    fire: tuple[datetime, ...] = ()
    skips: tuple[Skip, ...] = ()
    cursor: datetime
    """Up to here all is accounted for."""
    upcoming: datetime | None
    """The first instant after that."""


def agenda() -> Agenda:
    """Return what there is to do now, and how long until there is more."""
    return schedules.agenda(django_connection, batch=SMALL_BATCH, lease=conf().lease)


def refresh_edited(*, limit: int = BATCH) -> int:
    """Work out the next instant of schedules that were made or edited. Return how many there were.

    What was due by rules that were changed before any beat looked at them is recorded first.
    """
    recorded = _record_unseen(limit=limit)
    with short_transaction(wait_for_disk=False):  # undone by a crash, they are stale again
        entries = schedules.lock_stale(django_connection, limit=limit)
        schedules.advance(
            django_connection,
            [
                Advance(
                    id=entry.id,
                    cursor=entry.cursor,
                    next_fire_at=_wake(entry, first),
                    still_owes=_was_held_at(entry, first),
                )
                for entry, first in ((entry, _first(entry)) for entry in entries)
            ],
        )
    return recorded + len(entries)


def _record_unseen(*, limit: int) -> int:
    """Record what was due by rules that no beat had looked at, one skipped run each. Return how many rules."""
    with short_transaction(wait_for_disk=False):
        unrecorded = schedules.lock_unrecorded(django_connection, limit=limit)
        births.create(django_connection, [birth for former in unrecorded if (birth := _unseen(former))])
        schedules.mark_recorded(django_connection, unrecorded)
    return len(unrecorded)


def _unseen(former: Unrecorded) -> Birth | None:
    still_here()
    rule = former_rule(former.rule, begins=former.begins)
    found = list(islice(instants(rule, after=former.begins, until=former.until), UNSEEN_COUNT_LIMIT + 1))
    if not found:
        return None
    counted = len(found) <= UNSEEN_COUNT_LIMIT
    return _skipped(
        former.schedule_id,
        former.job_id,
        first=found[0],
        last=found[-1] if counted else former.until,
        count=len(found) if counted else None,
        reason="due, but its schedule was changed or deleted before a beat had looked at it",
    )


def _first(entry: Entry) -> datetime | None:
    still_here()
    # A one-off of django-celery-beat that has run and was not switched off yet; stock beat does so a tick later.
    over = entry.one_off and entry.job_id is None and entry.run_count > 0
    return None if over else first_after(entry.rule, entry.cursor)


def fire_due(*, limit: int = BATCH) -> int:
    """Make the runs of jobs that are due, and advance their schedules, in one transaction; hints follow its commit.

    Return how many schedules fired. No broker is needed.
    """
    # Undone by a crash, they are due again; claims wait for the disk.
    with short_transaction(wait_for_disk=False, plan_anew=False):
        entries = schedules.lock_due_jobs(django_connection, limit=limit)
        if not entries:
            return 0
        plans = [(entry, due(entry)) for entry in _undisputed(entries)]
        free, limited = _births(plans)
        ready = Counter(
            born.queue
            for born in births.create(django_connection, free)
            if born.state is State.QUEUED and not born.held
        )
        if limited:
            made = limits.create(django_connection, limited)
            ready.update(made.ready)
            if made.asked_to_end:
                transaction.on_commit(messages.look, robust=True)
        schedules.advance(django_connection, [_advance(entry, fires) for entry, fires in plans])
        messages.hint_on_commit(ready)
    if plans:
        logger.info("fired schedules=%d runs=%d", len(plans), sum(len(fires.fire) for _, fires in plans))
    return len(plans)


def rehearse() -> None:
    """Fire nothing, so that this thread's connection has its plans made and its caches filled when there is a rush."""
    with short_transaction(wait_for_disk=False, plan_anew=False):
        schedules.rehearse(django_connection)
        births.rehearse(django_connection)


def _undisputed(entries: list[Entry]) -> list[Entry]:
    """Return those whose runs can be made now. The others stay due: whoever holds their gate must not hold us all."""
    asked = {entry.job_id for entry in entries if entry.limited and entry.job_id is not None}
    if not asked:
        return entries
    locked = limits.lockable(django_connection, asked)
    return [entry for entry in entries if not entry.limited or entry.job_id in locked]


def send_due(*, limit: int = SEND_BATCH) -> int:
    """Send the messages of due schedules that name plain Celery tasks. Return how many schedules were due.

    Sent before the commit: if the broker refuses, the rollback keeps the instants due and the next tick tries
    again. A message may so be sent twice, and is never lost. Raises what the broker's connection raises.
    """
    with short_transaction(frozen_seconds=PUBLISH_SECONDS):
        entries = schedules.lock_due_tasks(django_connection, limit=limit)
        plans = [(entry, due(entry)) for entry in entries]
        unsent = messages.send_many([entry.message for entry, fires in plans if entry.message for _ in fires.fire])
        not_sent = Counter(failure.message.name for failure in unsent)
        schedules.advance(
            django_connection,
            [
                _advance(entry, fires, not_sent=not_sent[entry.message.name] if entry.message else 0)
                for entry, fires in plans
            ],
        )
    for failure in unsent:
        logger.error(
            "plain task not sent, its row makes no sense schedule=%r error=%s", failure.message.name, failure.why
        )
    for entry, fires in plans:
        for skip in fires.skips:
            logger.warning(
                "plain task not sent schedule=%r instants=%d from=%s to=%s reason=%s",
                entry.message and entry.message.name,
                skip.count,
                skip.first,
                skip.last,
                skip.reason,
            )
    return len(entries)


def due(entry: Entry) -> Fires:
    """Decide what becomes of the instants that a schedule owes up to now."""
    still_here()
    offset = jitter(entry.id, entry.jitter)
    if entry.next_fire_at is None:
        raise ValueError(f"schedule {entry.id} is not due")
    first, now = entry.next_fire_at - offset, entry.now - offset
    if entry.job_id is None and entry.last_run_at and entry.last_run_at > entry.cursor:
        # Stock beat served this row since: what it ran is accounted for.
        after = first_after(entry.rule, entry.last_run_at)
        if after is None or after > now:
            return Fires(cursor=entry.last_run_at, upcoming=after)
        first = after
    if entry.held_why and entry.held_until and entry.job_id is not None:
        now = max(now, entry.held_until)  # all that was due by then was missed, whatever its jitter
    exclusions = excluded(entry.rule)
    following = first_after(entry.rule, first)
    # By far the most: one instant, on time.
    on_time = not _away(entry, first, now) and not _expired(entry)
    if on_time and exclusions is None and (following is None or following > now):
        return Fires(fire=(first,), cursor=first, upcoming=_if_repeated(entry, following))
    owed = _Owed(entry, first=first, now=now)
    owed.walk()
    return owed.sorted_out()


def _away(entry: Entry, first: datetime, now: datetime) -> bool:
    """Tell whether the schedule was held, or no beat was there, so that its catch-up rule decides."""
    return bool(entry.held_why) or first < now - LATE


def _expired(entry: Entry) -> bool:
    """Tell whether a plain task's row has expired: its message would be thrown away, so it is not sent any more."""
    expires = entry.rule.expires
    return entry.job_id is None and expires is not None and expires <= entry.now


def _if_repeated(entry: Entry, upcoming: datetime | None) -> datetime | None:
    return None if entry.one_off else upcoming


@dataclass(slots=True)
class _Owed:
    """The due instants of a schedule that have no record yet: those to run and those to skip."""

    entry: Entry
    first: datetime = field(kw_only=True)
    now: datetime = field(kw_only=True)
    open: deque[datetime] = field(init=False)
    """The latest that are not excluded: as many as may be run."""
    earlier: int = 0
    """How many more came before those."""
    earliest: datetime | None = None
    latest_earlier: datetime | None = None
    shut: list[Skip] = field(default_factory=list)
    last: datetime = field(init=False)
    upcoming: datetime | None = None

    def __post_init__(self) -> None:
        self.last = self.first
        self.open = deque()

    def walk(self) -> None:
        """Go through all instants up to now, and through a blackout that now lies in to its end."""
        rule, exclusions = self.entry.rule, excluded(self.entry.rule)
        most = self._most()
        instant: datetime | None = self.first
        if exclusions is None:
            instant = self._leap(most)
        walked = 0
        while instant is not None and instant <= self.now and walked < COUNT_LIMIT:
            reason = exclusions.reason(instant) if exclusions else None
            if reason:
                self._shut(instant, reason)
            else:
                self._open(instant, most)
            self.last, walked = instant, walked + 1
            if walked % SIGN_EACH == 0:
                still_here()
            instant = first_after(rule, instant)
        if exclusions and self.shut and self.shut[-1].last == self.last:
            end = exclusions.until(self.last)
            while instant is not None and end is not None and instant < end and self.shut[-1].count < AHEAD_LIMIT:
                self._shut(instant, self.shut[-1].reason)
                self.last = instant
                instant = first_after(rule, instant)
        self.upcoming = instant

    def _most(self) -> int:
        if _expired(self.entry):
            return 0
        if not _away(self.entry, self.first, self.now):
            return COUNT_LIMIT
        most = {Schedule.CatchUp.NONE: 0, Schedule.CatchUp.LATEST: 1}.get(
            Schedule.CatchUp(self.entry.catch_up), self.entry.catch_up_limit
        )
        return min(most, 1) if self.entry.one_off else most

    def _leap(self, most: int) -> datetime | None:
        """Of an interval, count what need not be walked: a month of seconds is 2.6 million."""
        every = timetable(self.entry.rule)
        if most == COUNT_LIMIT or not isinstance(every, Every) or self.first >= self.now - every.period * (most + 2):
            return self.first
        end = min(self.now, self.entry.rule.expires or self.now)
        count = (end - self.first) // every.period - most
        if count < 1:
            return self.first
        self.earlier, self.earliest = count, self.first
        self.latest_earlier = self.first + every.period * (count - 1)
        self.last = self.latest_earlier
        return self.first + every.period * count

    def _open(self, instant: datetime, most: int) -> None:
        self.open.append(instant)
        if len(self.open) > most:
            self._pass_over(self.open.popleft())

    def _pass_over(self, instant: datetime) -> None:
        self.earliest = self.earliest or instant
        self.latest_earlier = instant
        self.earlier += 1

    def _shut(self, instant: datetime, reason: str) -> None:
        if self.shut and self.shut[-1].reason == reason:
            before = self.shut.pop()
            self.shut.append(Skip(first=before.first, last=instant, count=before.count + 1, reason=reason))
        else:
            self.shut.append(Skip(first=instant, last=instant, count=1, reason=reason))

    def sorted_out(self) -> Fires:
        """Return what is run and what is skipped."""
        entry = self.entry
        walked_to_now = self.upcoming is None or self.upcoming > self.now
        if _away(entry, self.first, self.now):
            while self.open and (not walked_to_now or self.open[0] <= self.now - entry.catch_up_window):
                self._pass_over(self.open.popleft())
        fire = tuple(self.open)
        if entry.one_off and fire:
            fire, self.upcoming = fire[:1], None
        skips = list(self.shut)
        if self.earliest and self.latest_earlier:
            skips.append(
                Skip(first=self.earliest, last=self.latest_earlier, count=self.earlier, reason=self._why_missed())
            )
        return Fires(fire=fire, skips=tuple(skips), cursor=self.last, upcoming=self.upcoming)

    def _why_missed(self) -> str:
        entry = self.entry
        if _expired(entry):
            return f"its row expired at {entry.rule.expires:%Y-%m-%d %H:%M:%S} UTC, before a beat could send it"
        why = f"it was {entry.held_why}" if entry.held_why else "no beat was running"
        return f"missed: {why} (catch_up: {entry.catch_up})"


def _births(plans: list[tuple[Entry, Fires]]) -> tuple[list[Birth], list[Birth]]:
    """Return the runs to make, those of limited jobs apart."""
    free: list[Birth] = []
    limited: list[Birth] = []
    for entry, fires in plans:
        if entry.job_id is None:
            continue
        runs = limited if entry.limited else free
        offset = jitter(entry.id, entry.jitter)
        for instant in fires.fire:
            runs.append(
                Birth(
                    job_id=entry.job_id,
                    trigger=Run.Trigger.SCHEDULE,
                    schedule_id=entry.id,
                    scheduled_for=instant,
                    not_before=instant + offset if offset else None,
                )
            )
        free += [
            _skipped(entry.id, entry.job_id, first=skip.first, last=skip.last, count=skip.count, reason=skip.reason)
            for skip in fires.skips
        ]
    return free, limited


def _skipped(
    schedule_id: int, job_id: int, *, first: datetime, last: datetime, count: int | None, reason: str
) -> Birth:
    """Return the run that records instants which are not run. `count` is None when they are too many to count."""
    several = f"{count or 'all'} instants from {first:%Y-%m-%d %H:%M:%S} to {last:%Y-%m-%d %H:%M:%S} UTC"
    return Birth(
        job_id=job_id,
        trigger=Run.Trigger.SCHEDULE,
        schedule_id=schedule_id,
        scheduled_for=first,
        skip_reason=reason if count == 1 else f"{reason}; {several}",
        skipped_until=last,
        skipped_count=count,
    )


def _advance(entry: Entry, fires: Fires, *, not_sent: int = 0) -> Advance:
    return Advance(
        id=entry.id,
        cursor=fires.cursor,
        next_fire_at=_wake(entry, fires.upcoming),
        fired=len(fires.fire) - not_sent,
        finished=entry.one_off and bool(fires.fire),
        still_owes=_was_held_at(entry, fires.upcoming),
    )


def _was_held_at(entry: Entry, instant: datetime | None) -> bool:
    return instant is not None and entry.held_until is not None and instant <= entry.held_until


def _wake(entry: Entry, instant: datetime | None) -> datetime | None:
    return None if instant is None else instant + jitter(entry.id, entry.jitter)
