"""Which of Celery's pools can perform runs.

A run is supervised by a slot: a process that the worker forks, with the worker's memory shared and its launcher at
hand. Threads and greenlets of one process are no slots, nor is the worker's main process, nor a process that starts
with an interpreter of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from celery.concurrency import ALIASES, get_implementation  # type: ignore[attr-defined]  # the stubs leave it out

_PREFORK: Final = ALIASES["prefork"]


def served_queues(instance: Any, options: Mapping[str, Any], *, of_jobs: Collection[str]) -> list[str]:
    """Return those of the queues that jobs may name which a worker will consume.

    `options` are those that Celery makes the worker with, and that it has not read yet.
    """
    instance.setup_queues(options.get("queues"), options.get("exclude_queues"))  # as Celery does again afterwards
    return [queue for queue in of_jobs if queue in instance.app.amqp.queues.consume_from]


def why_no_slots(app: Any, options: Mapping[str, Any]) -> str | None:
    """Return why the processes of a worker's pool cannot be slots, or None."""
    pool = get_implementation(app.either("worker_pool", options.get("pool"), options.get("pool_cls")))
    if _PREFORK not in map(_path, getattr(pool, "__mro__", ())):  # to import it fails under eventlet
        return f"its pool is {_name(pool)}, and runs need processes that the worker forks"
    # Celery before 5.7 always forks.
    method = options.get("pool_start_method") or app.conf.get("worker_pool_start_method") or "fork"
    if method != "fork":
        return f"its pool starts processes by {method}, and runs need processes that it forks"
    return None


def refusal(served: Collection[str], why: str) -> str:
    """Return one sentence for a worker that serves queues of jobs without slots."""
    return (
        f"This worker cannot perform the runs of its queues ({', '.join(served)}), because {why}: start it with "
        "--pool=prefork and --pool-start-method=fork, or let it serve other queues only (--queues)."
    )


def _name(pool: Any) -> str:
    path = _path(pool)
    return next((alias for alias, target in ALIASES.items() if target == path and alias != "custom"), path)


def _path(pool: Any) -> str:
    return f"{getattr(pool, '__module__', '')}:{getattr(pool, '__qualname__', pool)}"
