"""Runs for instants of a job's past, each once."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

from django.db import transaction

from jobs import messages
from jobs.models import Backfill, Job, Run, Schedule
from jobs.rules import excluded, instants, rule_of
from jobs.store import limits
from jobs.store.births import Birth
from jobs.store.session import django_connection, short_transaction
from jobsched.domain.errors import InvalidInput

logger = logging.getLogger(__name__)

MOST_INSTANTS = 10_000
"""In one request: they are all made at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Filled:
    """What a backfill came to. `already` are instants that had their run before."""

    id: int | None
    """None when nothing was to be made, or only to be counted."""
    instants: int
    made: int
    already: int
    excluded: int
    """Instants that lie in excluded days or windows of the schedule; they are left out."""


def backfill(
    job: Job,
    *,
    start: datetime,
    end: datetime,
    actor: str,
    max_running: int | None = None,
    dry_run: bool = False,
) -> Filled:
    """Make a run for every instant of a job's schedule, as it reads now, from `start` to `end`, both included.

    An instant that has its run already is passed over; one that was skipped is run. With `max_running`, at most so many
    of them run at once. Overlap rules hold in so far as they keep runs apart: none is skipped or replaced.
    With `dry_run` nothing is made. Raises InvalidInput.
    """
    if max_running is not None and max_running < 1:
        raise InvalidInput(f"max_running must be at least 1, not {max_running}.")
    wanted, left_out, schedule = _wanted(job, start, end)
    with short_transaction():
        row = Backfill.objects.create(job=job, start=start, end=end, max_running=max_running, requested_by=actor)
        apart = max_running is not None and job.overlap == Job.Overlap.ALLOW
        runs = [
            Birth(
                job_id=job.pk,
                trigger=Run.Trigger.BACKFILL,
                requested_by=actor,
                schedule_id=schedule.pk,
                scheduled_for=at,
                lane=f"backfill:{row.pk}" if apart else None,
            )
            for at in wanted
        ]
        made = limits.make(django_connection, runs, limited=apart or job.limited)
        messages.hint_on_commit(made.ready)
        count = len(made.born)
        filled = Filled(
            id=row.pk if count and not dry_run else None,
            instants=len(wanted),
            made=count,
            already=len(wanted) - count,
            excluded=left_out,
        )
        if filled.id is None:
            transaction.set_rollback(True)
    logger.info("backfill id=%s job=%s made=%d already=%d actor=%s", filled.id, job.name, count, filled.already, actor)
    return filled


def _wanted(job: Job, start: datetime, end: datetime) -> tuple[list[datetime], int, Schedule]:
    now = datetime.now(UTC)
    if start > end:
        raise InvalidInput(f"the backfill ends ({end.isoformat()}) before it begins ({start.isoformat()}).")
    if end > now:
        raise InvalidInput(
            f"the backfill ends at {end.isoformat()}, which is yet to come; it is for past instants only."
        )
    schedule = Schedule.objects.filter(job=job).with_rule().first()
    if schedule is None:
        raise InvalidInput(f"The job '{job.name}' has no schedule, so that no instant of its past is known.")
    rule = rule_of(schedule.periodic_task, schedule)
    exclusions = excluded(rule)
    found = list(islice(instants(rule, after=start - timedelta(microseconds=1), until=end), MOST_INSTANTS + 1))
    if len(found) > MOST_INSTANTS:
        raise InvalidInput(
            f"The job '{job.name}' has more than {MOST_INSTANTS} instants in that period; "
            f"end at {found[-2].isoformat()} and go on from there."
        )
    wanted = [at for at in found if not (exclusions and exclusions.reason(at))]
    return wanted, len(found) - len(wanted), schedule
