"""The queues there are, what waits in them, and how fast their runs may start."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Count, Q

from jobs import messages
from jobs.conf import conf
from jobs.models import Queue, Run
from jobs.store import limits
from jobs.store.session import django_connection
from jobsched.domain.errors import NotFound
from jobsched.domain.rates import Rate
from jobsched.domain.states import State

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueView:
    """A queue as it stands now."""

    name: str
    rate: str | None
    """At most so many starts, such as `100/m`; None when it has no limit."""
    waiting: int
    """Runs that are queued."""
    held: int
    """Those of them that no worker may take yet, by the queue's rate or the limits of their job."""


def queues() -> list[QueueView]:
    """Return the queues that jobs may name, in the order of the settings."""
    return _views(conf().queues)


def set_rate(name: str, rate: str | None, *, actor: str) -> QueueView:
    """Let at most so many runs of a queue start in a time, whoever works on it; None takes the limit away.

    Runs that wait are not lost: they start at the new rate from now on. Raises NotFound, and InvalidInput for a rate
    that is none.
    """
    if name not in conf().queues:
        known = ", ".join(f"'{queue}'" for queue in conf().queues)
        raise NotFound(f"There is no queue '{name}'; jobs may name {known} (JOBSCHED_QUEUES).")
    text = "" if rate is None else Rate.parse(rate).text
    with transaction.atomic():
        Queue.objects.get_or_create(name=name)
        queue = Queue.objects.select_for_update().get(name=name)
        if queue.rate != text:
            # When the next run may start was counted by the former rate: after 1/d, that could be tomorrow.
            queue.rate, queue.next_at = text, None
            queue.save()
            logger.info("queue rate set queue=%s rate=%s actor=%s", name, text or "none", actor)
        messages.hint_on_commit(limits.admit(django_connection, (), [name]))
    return _views([name])[0]


def _views(names: tuple[str, ...] | list[str]) -> list[QueueView]:
    rates = dict(Queue.objects.filter(name__in=names).values_list("name", "rate"))
    counted = Run.objects.filter(state=State.QUEUED, queue__in=names).order_by().values_list("queue")
    waiting = {
        queue: (both, held)
        for queue, both, held in counted.annotate(both=Count("pk"), held=Count("pk", filter=~Q(held=Run.Held.NO)))
    }
    return [
        QueueView(name=name, rate=rates.get(name) or None, waiting=both, held=held)
        for name in names
        for both, held in [waiting.get(name, (0, 0))]
    ]
