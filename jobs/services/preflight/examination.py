"""The whole of it: what cannot be reached is a finding as well, and keeps nothing else from being looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery import current_app
from django.db import DatabaseError, InterfaceError, OperationalError, connection

from jobs import broker, messages
from jobs.broker import BrokerFacts
from jobs.celery_settings import broker_problem
from jobs.conf import conf
from jobs.services.preflight import (
    celerysettings,
    connections,
    hosts,
    leases,
    postgres,
    queues,
    rabbitmq,
    rejected,
    schema,
    timeliness,
    work,
    workers,
)
from jobs.services.preflight.findings import Finding, Notes, Report, first_line
from jobs.store import facts
from jobs.store.facts import QueueUse
from jobs.store.session import django_connection


def examine() -> Report:
    """Look at everything. Takes some seconds at most when a server does not answer; changes nothing."""
    found, used = _database()
    found += celerysettings.look()
    found += _broker(used)
    return Report(findings=found + leases.look() + hosts.look())


def _database() -> tuple[list[Finding], list[QueueUse]]:
    """Return what was found, and who names which queue, as far as that could be read."""
    notes = Notes("postgresql")
    try:
        connection.ensure_connection()
    except (OperationalError, InterfaceError) as error:
        notes.error(
            "reachable",
            f"PostgreSQL cannot be reached ({_said(error)}): nothing fires, starts or is recorded until it can; start "
            "it, or correct JOBSCHED_DATABASE_URL (DATABASES in a project of your own).",
        )
        return notes.found, _configured()
    found, used = notes.found, _configured()
    for look in (postgres.look, schema.look, timeliness.look, work.look, rejected.look):
        found += _guarded(look)
    try:
        used = facts.queue_use(django_connection, conf().queues)
    except DatabaseError as error:
        found += _unread(error)
    return found, used


def _configured() -> list[QueueUse]:
    return [QueueUse(name=name, jobs=0, waiting=0, longest_wait_seconds=None) for name in conf().queues]


def _guarded(look: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return look()
    except DatabaseError as error:
        return _unread(error)


def _unread(error: DatabaseError) -> list[Finding]:
    connection.close()
    notes = Notes("postgresql")
    notes.error("readable", f"PostgreSQL refuses a question ({_said(error)}); see what is said of its migrations.")
    return notes.found


def _broker(used: list[QueueUse]) -> list[Finding]:
    notes = Notes("rabbitmq")
    if broker_problem(current_app) is not None:  # which is a finding already
        return queues.look(used, None)
    try:
        facts = broker.read(use.name for use in used)
    except messages.BROKER_ERRORS as error:
        notes.error(
            "reachable",
            f"RabbitMQ cannot be reached ({_said(error)}): nothing is lost, but no worker learns of its work until it "
            "can; start it, or correct JOBSCHED_BROKER_URL (CELERY_BROKER_URL in a project of your own).",
        )
        return notes.found + queues.look(used, None)
    return rabbitmq.look(facts) + queues.look(used, facts) + _workers(facts)


def _workers(facts: BrokerFacts) -> list[Finding]:
    if facts.blocked is not None:  # no question would reach them
        return []
    try:
        answers = workers.ask()
    except messages.BROKER_ERRORS as error:
        notes = Notes("workers")
        notes.unknown("protection", f"Workers cannot be asked what is protected from their runs ({_said(error)}).")
        return notes.found
    return workers.look(answers) + _connections(answers)


def _connections(answers: dict[str, dict[str, Any]]) -> list[Finding]:
    try:
        return connections.look(answers)
    except DatabaseError:  # which is a finding already
        return []


def _said(error: BaseException) -> str:
    """Return what an error says, to stand inside a sentence."""
    return first_line(error).rstrip(".")
