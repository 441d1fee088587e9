"""Runs that repeat others."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Literal

from jobs.models import Run
from jobs.store.births import Birth
from jobs.store.session import Execute

AsOf = Literal["then", "now"]
"""By which definition a run is repeated: the one it was performed by, or its job's present one."""


def repeat(old: Run, *, actor: str, definition: AsOf, at: datetime) -> Birth:
    """Return the birth of a run with the parameters, the priority and the instant of another.

    `at` is the present moment by the database's clock: it waits in line from then on, not from the old instant.
    """
    return Birth(
        job_id=old.job_id,
        trigger=Run.Trigger.RETRY,
        requested_by=actor,
        scheduled_for=old.scheduled_for,
        not_before=at,
        params=old.params,
        priority=old.priority,
        definition_id=old.definition_id if definition == "then" else None,
        retry_of=old.pk,
    )


def lock(execute: Execute, run_ids: Collection[int]) -> None:
    """Lock runs until the end of the transaction, in order of their number.

    What a later statement reads of them holds: whoever would change or repeat them waits for this transaction.
    """
    execute("SELECT FROM jobs_run WHERE id = ANY(%(ids)s::bigint[]) ORDER BY id FOR UPDATE", {"ids": sorted(run_ids)})
