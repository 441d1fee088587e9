"""Which runs are meant: one filter for lists, for cancelling many and for retrying many."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from functools import reduce
from operator import or_
from typing import Literal

from django.db.models import Exists, OuterRef, Q, QuerySet

from jobs.models.history import Attempt
from jobs.models.job import Job
from jobs.models.run import Run, RunQuerySet
from jobsched.domain.states import State

DEAD_ENDS = frozenset({State.FAILED, State.TIMED_OUT})
"""The states of runs that somebody may want to look at, and to retry."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFilter:
    """What runs have in common. Whatever is left out (None, no states) is not asked for."""

    project: str | None = None
    job: str | None = None
    """A job's name. Deleted jobs of that name count as well: their runs are kept."""
    job_id: int | None = None
    states: frozenset[State] = frozenset()
    queue: str | None = None
    reason: str | None = None
    """A part of the reason, in upper or lower case."""
    exit_code: int | None = None
    """Of the last attempt, as are `signal` and `error`."""
    signal: int | None = None
    """The number of the signal that ended the work."""
    error: str | None = None
    """The class of an exception, alone or with its module."""
    worker: str | None = None
    """A slot as runs name it, or the worker it belongs to: `celery@host` for `celery@host/4711`."""
    trigger: str | None = None
    retried: bool | None = None
    """Whether another run repeats it. A retry that was skipped repeats nothing."""
    start: datetime | None = None
    """From this moment on, and up to `end`: both included."""
    end: datetime | None = None
    by: Literal["created", "finished"] = "created"
    """Which moment of a run `start` and `end` speak of."""

    @property
    def narrows(self) -> bool:
        """Tell whether anything is asked for that leaves most runs out. Not to have been retried is no such thing."""
        asked = (field for field in fields(self) if field.name not in ("by", "retried"))
        return any(getattr(self, field.name) != field.default for field in asked)

    def of(self, runs: RunQuerySet) -> RunQuerySet:
        """Narrow a query. A job's name is looked up first, so that the index of its runs can be used."""
        if self.job is not None:
            runs = runs.filter(job_id__in=self._job_ids(self.job))
        elif self.project is not None:
            runs = runs.filter(job__project__name=self.project)
        if self.job_id is not None:
            runs = runs.filter(job_id=self.job_id)
        if self.states:
            runs = runs.filter(_in_states(self.states))
        if self.queue is not None:
            runs = runs.filter(queue=self.queue)
        if self.trigger is not None:
            runs = runs.filter(trigger=self.trigger)
        if self.reason is not None:
            runs = runs.filter(reason__icontains=self.reason)
        if self.worker is not None:
            runs = runs.filter(Q(worker=self.worker) | Q(worker__startswith=f"{self.worker}/"))
        if any(asked is not None for asked in (self.exit_code, self.signal, self.error)):
            runs = runs.filter(Exists(self._last_attempt()))
        if self.retried is not None:
            again = Exists(Run.objects.filter(retry_of=OuterRef("pk")).exclude(state=State.SKIPPED))
            runs = runs.filter(again if self.retried else ~again)
        if self.start is not None:
            runs = runs.filter(**{f"{self.by}_at__gte": self.start})
        if self.end is not None:
            runs = runs.filter(**{f"{self.by}_at__lte": self.end})
        return runs

    def _job_ids(self, name: str) -> list[int]:
        found = Job.objects.filter(name=name)
        if self.project is not None:
            found = found.filter(project__name=self.project)
        return list(found.values_list("pk", flat=True))

    def _last_attempt(self) -> QuerySet[Attempt]:
        found = Attempt.objects.filter(run=OuterRef("pk"), number=OuterRef("attempt"))
        if self.exit_code is not None:
            found = found.filter(exit_code=self.exit_code)
        if self.signal is not None:
            found = found.filter(signal=self.signal)
        if self.error is not None:
            found = found.filter(Q(error=self.error) | Q(error__endswith=f".{self.error}"))
        return found


def _in_states(states: frozenset[State]) -> Q:
    """Say it so that the partial indexes of runs that wait can serve: there is one for each reason to be held."""
    if states == {State.QUEUED}:
        return reduce(or_, (Q(state=State.QUEUED, held=held.value) for held in Run.Held))
    return Q(state__in=sorted(states))
