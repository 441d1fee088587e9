"""Rows to work on, and connections beside Django's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from jobs.models import Job, Project, Run
from jobs.services.running import inline, turn
from jobs.store import births, claims, outputs
from jobs.store.births import Birth
from jobs.store.claims import Claim, ClaimRequest
from jobs.store.session import Session, django_connection
from jobsched.domain.outcomes import Part
from tests.integration.clock import DatabaseClock, database_clock


@pytest.fixture(autouse=True)
def _cheap_passwords(settings: Any) -> None:
    """Users are made for most of these tests, and a hash that is safe takes half a second."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def _watched_by_beats(request: pytest.FixtureRequest) -> None:
    """Beats have watched the database for ever, so that an expired lease is reaped by whoever calls `reap`."""
    if {"db", "transactional_db"} & set(request.fixturenames):
        request.getfixturevalue("transactional_db")
        set_watch(since="-infinity", seen_at="infinity")


def set_watch(*, since: str, seen_at: str) -> None:
    """Say since when beats have watched the database, and when one looked last, as PostgreSQL reads moments."""
    django_connection(
        """
        INSERT INTO jobs_beatwatch VALUES (1, %(since)s::timestamptz, %(seen_at)s::timestamptz)
        ON CONFLICT (id) DO UPDATE SET since = EXCLUDED.since, seen_at = EXCLUDED.seen_at
        """,
        {"since": since, "seen_at": seen_at},
    )


@pytest.fixture
def own_slot() -> Iterator[None]:
    """The slot that `running.work` makes in this process is the test's own, and gone after it."""
    yield
    if turn._slot is not None:
        turn._slot.close()
        turn._slot = inline._inline = None


@pytest.fixture
def project(transactional_db: None) -> Project:
    return Project.objects.get_or_create(name="default")[0]


@pytest.fixture
def make_job(project: Project) -> Callable[..., Job]:
    def make(name: str = "Noop", **fields: object) -> Job:
        job = Job(project=project, name=name, **{"kind": "shell", "spec": {"command": "true"}, **fields})
        job.save()
        job.refresh_from_db()
        return job

    return make


@pytest.fixture
def job(make_job: Callable[..., Job]) -> Job:
    return make_job()


@pytest.fixture
def session(transactional_db: None) -> Iterator[Session]:
    """A slot's own connection."""
    opened = Session()
    yield opened
    opened.close()


@pytest.fixture
def other_session(transactional_db: None) -> Iterator[Session]:
    opened = Session()
    yield opened
    opened.close()


@pytest.fixture
def make_runs(job: Job) -> Callable[..., list[Run]]:
    def make(count: int = 1, **fields: object) -> list[Run]:
        wanted = Birth(**{"job_id": job.pk, "trigger": "request", **fields})
        born = births.create(django_connection, [wanted] * count)
        return [Run.objects.get(pk=b.id) for b in born]

    return make


def claim_request(queue: str = "default", *, limit: int = 1, lease_seconds: float = 30.0) -> ClaimRequest:
    """What a slot asks for. A negative lease makes claims that are expired from the start."""
    return ClaimRequest(
        token=uuid4(), queue=queue, limit=limit, worker="slot-1", lease=timedelta(seconds=lease_seconds)
    )


def claim_next(session: Session, queue: str = "default", *, limit: int = 1, lease_seconds: float = 30.0) -> list[Claim]:
    request = claim_request(queue, limit=limit, lease_seconds=lease_seconds)
    return claims.settle_and_claim(session, [], request, actor="slot-1").claims


@pytest.fixture
def clock(transactional_db: None) -> Iterator[DatabaseClock]:
    """The database's clock, as the test sets it, for what is done on Django's connection."""
    with database_clock() as clock:
        yield clock


def keep_output(session: Session, claim: Claim, start: int, data: bytes) -> None:
    """Keep output of an attempt that is under way."""
    outputs.keep(session, claim, Part(start=start, data=data, replaces_from=start, final=True))
