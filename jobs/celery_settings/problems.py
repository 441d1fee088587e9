"""Settings of Celery that would break a promise and cannot be overridden: they are refused, each in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from celery.utils.imports import symbol_by_name
from django.conf import settings

from jobs.celery_settings.queues import queue_of
from jobs.conf import conf

CONSUMER: Final = "jobs.consumer:PromptConsumer"
CELERYS_CONSUMER: Final = "celery.worker.consumer:Consumer"
TRANSPORTS: Final = ("amqp", "amqps", "pyamqp", "pgmq")
"""Kombu's names of RabbitMQ and of PostgreSQL as a broker."""
_EXECUTES_CODE: Final = {"pickle", "application/x-python-serialize"}
_JSON: Final = {"json", "application/json"}


OF_BEATS: Final = frozenset({"jobs.E003", "jobs.E007"})
"""The problems that concern beats: the others are those of workers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """A setting that is refused."""

    id: str
    """That of the Django check: a project that lists it in SILENCED_SYSTEM_CHECKS takes the risk."""
    sentence: str


def problems(app: Any) -> list[Problem]:
    """Return what has to be changed in the settings of a Celery app. Check, doctor, workers and beats ask this."""
    found = [Problem(id=id, sentence=sentence) for id, look in _LOOKS.items() if (sentence := look(app)) is not None]
    return [problem for problem in found if problem.id not in settings.SILENCED_SYSTEM_CHECKS]


def broker_problem(app: Any) -> str | None:
    """Return in one sentence why the broker is none that jobs can use, or None. The address stays out of it."""
    for name, transport in _transports(app.conf):
        if transport not in TRANSPORTS:
            return (
                f"CELERY_{name.upper()} names a broker of the kind '{transport}', which jobs cannot use: give the "
                "address of a RabbitMQ (amqp://…), or of PostgreSQL as a broker (pgmq://…)."
            )
    return None


def _transports(conf: Any) -> Iterator[tuple[str, str]]:
    for name in ("broker_url", "broker_read_url", "broker_write_url"):
        value = getattr(conf, name) or ()
        addresses = value if isinstance(value, list | tuple) else str(value).split(";")
        for address in addresses:
            scheme, separator, _ = str(address).partition("://")
            if separator:
                yield name, scheme.strip().partition("+")[0]
    if conf.broker_transport:
        yield "broker_transport", str(conf.broker_transport)


def _eager(app: Any) -> str | None:
    if not app.conf.task_always_eager:
        return None
    return (
        "CELERY_TASK_ALWAYS_EAGER is on, so that a beat would perform the tasks of PeriodicTasks itself: remove it, "
        "or set it in the settings of tests only."
    )


def _no_json(app: Any) -> str | None:
    if set(app.conf.accept_content) & _JSON:
        return None
    return "CELERY_ACCEPT_CONTENT lacks 'json', so that workers reject every hint and perform no run: add 'json'."


def _code(app: Any) -> str | None:
    accepted = sorted(set(app.conf.accept_content) & _EXECUTES_CODE)
    if not accepted:
        return None
    return (
        f"CELERY_ACCEPT_CONTENT has '{accepted[0]}', so that whoever can write to the broker executes code in workers: "
        "set it to ['json'] for workers that serve jobs."
    )


def _prefetch(app: Any) -> str | None:
    if app.conf.worker_prefetch_multiplier != 0:
        return None
    return (
        "CELERY_WORKER_PREFETCH_MULTIPLIER is 0, so that a busy worker fetches every hint and its memory grows "
        "without end: set it to 1 or more."
    )


def _consumer(app: Any) -> str | None:
    name = app.conf.worker_consumer
    if name in (CELERYS_CONSUMER, CONSUMER):
        return None
    try:
        if issubclass(symbol_by_name(name), symbol_by_name(CONSUMER)):
            return None
    except (ImportError, AttributeError, TypeError):
        pass
    return (
        f"CELERY_WORKER_CONSUMER is {name}, so that a malformed message or an outage of the broker can end workers: "
        f"remove it, or derive that class from {CONSUMER.replace(':', '.')}."
    )


def _queues(app: Any) -> str | None:
    for name in conf().queues:
        found = queue_of(app, name).name
        if found != name:
            return (
                f"CELERY_TASK_QUEUES makes '{name}' another name of the queue '{found}', so that no worker takes the "
                f"hints of '{name}': give the queue that name, or name '{found}' in JOBSCHED['QUEUES']."
            )
    return None


_LOOKS: Final[dict[str, Callable[[Any], str | None]]] = {
    "jobs.E003": _eager,
    "jobs.E007": broker_problem,
    "jobs.E008": _no_json,
    "jobs.E009": _code,
    "jobs.E010": _prefetch,
    "jobs.E011": _consumer,
    "jobs.E012": _queues,
}
