"""What is done to many runs at once: cancel and retry by a filter, in batches that each are one short transaction."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from django.db import OperationalError, transaction
from django.db.models import Count

from jobs import messages
from jobs.models import Run
from jobs.models.run import RunQuerySet
from jobs.models.runfilter import DEAD_ENDS, RunFilter
from jobs.store import control, limits, retries
from jobs.store.births import Birth
from jobs.store.claims import Lane
from jobs.store.control import Cancelled
from jobs.store.limits import Limits
from jobs.store.retries import AsOf
from jobs.store.session import django_connection, now, short_transaction
from jobsched.domain import concurrency
from jobsched.domain.errors import InvalidInput
from jobsched.domain.states import ACTIVE, FINISHED, State

logger = logging.getLogger(__name__)

BATCH = 500
"""Runs in one transaction: few enough that whoever wants one of them waits for milliseconds."""
REPEATED = 100
"""Runs repeated in one transaction: each may have the largest parameters, and all are made by one statement."""
AT_ONCE = 5000
"""Runs in one call; the next call goes on below them."""
DEADLOCKS_BORNE = 3
STEP_BACK_SECONDS = 0.05
"""Whoever came back at once would take the same locks before the other has woken up."""
_DEADLOCK = "40P01"

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelledMany:
    """What one call did. `next` is where the following call goes on (its `before`), None when none is left."""

    ended: int
    """Runs that had not begun."""
    asked: int
    """Running ones: each ends when its worker has heard of it."""
    next: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RetriedMany:
    """What one call did. `next` is as for CancelledMany."""

    made: int
    skipped: int
    """Made as skipped runs, by the overlap rule of their job: what they repeat counts as not retried."""
    waiting: int
    """Not made, as a run of their unique job waits already."""
    refused: int
    why: str
    """For the last that was refused."""
    next: int | None


def count_to_cancel(chosen: RunFilter) -> CancelledMany:
    """Count what `cancel` would do to all that match. Raises what it raises."""
    counts = dict(_cancellable(chosen).values_list("state").annotate(Count("pk")).order_by())
    asked = counts.pop(State.RUNNING, 0)
    return CancelledMany(ended=sum(counts.values()), asked=asked, next=None)


def cancel(chosen: RunFilter, *, actor: str, before: int | None = None, limit: int = AT_ONCE) -> CancelledMany:
    """Cancel runs that match and have not ended, newest first: waiting ones end, running ones are asked to end.

    Handles up to `limit` of those older than the run `before`; whoever repeats the call with `next` until that is None
    reaches all there were, and none that were made meanwhile. What ceases to match before its turn is left alone, and
    so is what was asked to end before. Raises InvalidInput for a filter that asks for nothing, or for what has ended.
    """
    matching = _cancellable(chosen)
    after: Counter[State] = Counter()
    freed: set[Lane] = set()
    pages = _Pages(matching, before=before, limit=limit, batch=BATCH)
    try:
        for ids in pages:
            cancelled = _in_transaction(partial(_cancel, matching, ids, actor=actor))
            after.update(cancelled.states.values())
            freed |= cancelled.freed
    finally:
        # Once a call and not once a batch: a broker that is away would be waited for as often.
        if after[State.RUNNING]:
            transaction.on_commit(messages.look, robust=True)
        if freed:
            messages.hint_on_commit(limits.admit(django_connection, freed))
        logger.info("cancel of many requested ended=%d asked=%d actor=%s", *_ended_and_asked(after), actor)
    ended, asked = _ended_and_asked(after)
    return CancelledMany(ended=ended, asked=asked, next=pages.next)


def _cancel(matching: RunQuerySet, ids: list[int], *, actor: str) -> Cancelled:
    retries.lock(django_connection, ids)
    still = list(matching.filter(pk__in=ids).values_list("pk", flat=True))
    return control.cancel(django_connection, still, actor=actor)


def _in_transaction(batch: Callable[[], T]) -> T:
    """Do a batch as one transaction, and again if that crossed with a worker that records several runs at once."""
    for _ in range(DEADLOCKS_BORNE):
        try:
            with short_transaction():
                return batch()
        except OperationalError as error:
            if getattr(error.__cause__, "sqlstate", None) != _DEADLOCK:
                raise
            logger.info("batch of many runs met a deadlock, trying again")
            time.sleep(STEP_BACK_SECONDS)
    with short_transaction():
        return batch()


def _ended_and_asked(after: Counter[State]) -> tuple[int, int]:
    return after[State.CANCELLED], after[State.RUNNING]


def count_to_retry(chosen: RunFilter) -> int:
    """Count what `retry` would repeat of all that match. Raises what it raises."""
    return _repeatable(chosen).count()


def retry(
    chosen: RunFilter,
    *,
    actor: str,
    definition: AsOf = "then",
    before: int | None = None,
    limit: int = AT_ONCE,
) -> RetriedMany:
    """Request a new run for each that matches, has ended and was not retried, newest first: see `control.retry`.

    Without states it is about those that failed or timed out. Two calls at once make one retry a run: each locks what
    it repeats and then looks whether it was repeated meanwhile. A run retried by hand can be so again. `limit`,
    `before` and `next` are as for `cancel`. Raises InvalidInput for a filter that asks for nothing, for what has not
    ended, or for what was retried.
    """
    matching = _repeatable(chosen)
    done: Counter[str] = Counter()
    why = ""
    ready: Counter[str] = Counter()
    asked_to_end = False
    pages = _Pages(matching, before=before, limit=limit, batch=min(BATCH, REPEATED))
    try:
        for ids in pages:
            batch = _in_transaction(partial(_repeat, matching, ids, actor=actor, definition=definition))
            done.update(batch.done)
            ready.update(batch.ready)
            asked_to_end |= batch.asked_to_end
            why = batch.why or why
    finally:
        if asked_to_end:
            transaction.on_commit(messages.look, robust=True)
        if ready:
            messages.hint_on_commit(ready)
        logger.info("retry of many requested made=%d skipped=%d actor=%s", done["made"], done["skipped"], actor)
    return RetriedMany(
        made=done["made"],
        skipped=done["skipped"],
        waiting=done["waiting"],
        refused=done["refused"],
        why=why,
        next=pages.next,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Repeated:
    done: Counter[str]
    why: str
    ready: Counter[str]
    asked_to_end: bool


def _repeat(matching: RunQuerySet, ids: list[int], *, actor: str, definition: AsOf) -> _Repeated:
    limited_jobs = Run.objects.filter(pk__in=ids, job__limited=True).order_by().values_list("job_id", flat=True)
    # Before their runs, as everybody takes these locks.
    said = limits.lock(django_connection, gates) if (gates := set(limited_jobs)) else {}
    retries.lock(django_connection, ids)
    at = now(django_connection)
    wanted: dict[bool, list[Birth]] = {True: [], False: []}
    refusals: list[str] = []
    for old in matching.filter(pk__in=ids).select_related("job").order_by("pk"):
        birth = retries.repeat(old, actor=actor, definition=definition, at=at)
        limited = old.job_id in said
        if refusal := _refusal(old, birth, said.get(old.job_id), definition):
            refusals.append(refusal)
        else:
            wanted[limited].append(birth)
    done = Counter(refused=len(refusals))
    ready: Counter[str] = Counter()
    asked_to_end = False
    for limited, asked in wanted.items():
        if asked:
            made = limits.make(django_connection, asked, limited=limited)
            skipped = sum(born.state is State.SKIPPED for born in made.born)
            done.update(made=len(made.born) - skipped, skipped=skipped, waiting=len(asked) - len(made.born))
            ready.update(made.ready)
            asked_to_end |= made.asked_to_end
    return _Repeated(done=done, why=refusals[-1] if refusals else "", ready=ready, asked_to_end=asked_to_end)


def _refusal(old: Run, birth: Birth, said: Limits | None, definition: AsOf) -> str:
    """Say why a run cannot be repeated, so that it does not keep others from it. Nothing if it can."""
    if definition == "now" and old.job.archived_at is not None:
        return f"Run {old.pk}: its job '{old.job.name}' was deleted; retry it by the definition as it was then."
    if said is not None and said.concurrency_key:
        try:
            concurrency.render(said.concurrency_key, {**said.params, **(birth.params or {})})
        except InvalidInput as error:
            return f"Run {old.pk}: {error}"
    return ""


def _cancellable(chosen: RunFilter) -> RunQuerySet:
    if not chosen.narrows:
        raise InvalidInput(
            "The filter is empty and would cancel every run; name a job, a queue, or the states: "
            "scheduled, queued, running."
        )
    if ended := chosen.states - ACTIVE:
        raise InvalidInput(f"Runs that are {_words(ended)} have ended and cannot be cancelled; leave these out.")
    return replace(chosen, states=chosen.states or ACTIVE).of(Run.objects.filter(cancel_requested_at=None))


def _repeatable(chosen: RunFilter) -> RunQuerySet:
    if not chosen.narrows:
        raise InvalidInput(
            "The filter is empty and would retry every failure there ever was; name a job, a queue, a time, "
            "or the states: failed, timed_out."
        )
    if active := chosen.states - FINISHED:
        raise InvalidInput(
            f"Runs that are {_words(active)} have not ended and cannot be retried; leave that state out."
        )
    if chosen.retried:
        raise InvalidInput("What was retried already is not retried again by a filter; name the run itself.")
    return replace(chosen, states=chosen.states or DEAD_ENDS, retried=False).of(Run.objects.all())


def _words(states: frozenset[State]) -> str:
    return ", ".join(sorted(state.replace("_", " ") for state in states))


class _Pages:
    """Numbers of runs, newest first, a batch at a time. Once it is through, `next` is where another may go on."""

    def __init__(self, matching: RunQuerySet, *, before: int | None, limit: int, batch: int) -> None:
        self._matching = matching
        self._batch = batch
        self._left = limit
        self.next = before

    def __iter__(self) -> Iterator[list[int]]:
        while self._left > 0:
            size = min(self._batch, self._left)
            older = self._matching if self.next is None else self._matching.filter(pk__lt=self.next)
            ids = list(older.order_by("-pk").values_list("pk", flat=True)[:size])
            if ids:
                yield ids
            if len(ids) < size:
                self.next = None
                return
            self.next = ids[-1]
            self._left -= size
