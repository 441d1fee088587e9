"""Who is measured: our beat, alone and in twos, for jobs and for plain Celery tasks; and stock beat."""

from __future__ import annotations

import os
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from benchmarks.beat.fires import Fires, MessageFires, RunFires
from benchmarks.beat.prototype import QUEUE
from benchmarks.beat.rows import Rows
from benchmarks.contenders.base import BROKER_VARIABLE, DATABASE_VARIABLE, python
from benchmarks.processes import Command
from benchmarks.servers import Servers

PLAIN_QUEUE = f"{QUEUE}-plain"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a contender works."""

    servers: Servers
    database_url: str
    data: Path
    rows: Rows


class Contender(ABC):
    """A way to run beat. Its processes begin and end within one measurement."""

    key: ClassVar[str]
    title: ClassVar[str]
    beats: ClassVar[int] = 1
    of_jobs: ClassVar[bool] = False
    ours: ClassVar[bool] = True
    largest: ClassVar[int | None] = None
    """More schedules than this are not given to it: it would not come to an end."""
    imports: ClassVar[str]
    """A program that loads what its beat loads, and ends."""

    def __init__(self, place: Place) -> None:
        self.place = place

    @abstractmethod
    def command(self, number: int) -> Command:
        """Return how its beat is started; several are numbered."""

    @abstractmethod
    def env(self) -> dict[str, str]:
        """Return what its processes need in their environment."""

    def watch(self) -> Fires:
        """Return the fires of its schedules from now on."""
        if self.of_jobs:
            return RunFires(self.place.rows.connection)
        ahead = self.place.rows.now() - time.time()
        return MessageFires(self.place.servers.broker_url, PLAIN_QUEUE, clock_ahead=ahead)

    def clean(self) -> None:
        """Remove its queues."""
        for queue in (QUEUE, PLAIN_QUEUE):
            self.place.servers.delete_queue(queue)


class Ours(Contender):
    key = "ours"
    title = "jobsched, jobs"
    of_jobs = True
    imports = "import celery.bin.celery, django; django.setup(); import config.celery, celery.apps.beat, jobs.beat"

    def command(self, number: int) -> Command:
        state = self.place.data / f"{self.key}-{number}.state"
        return Command(argv=python("celery", "-A", "config", "beat", "--pidfile=", "-s", str(state)), env=self.env())

    def env(self) -> dict[str, str]:
        return our_environment(self.place.servers, self.place.database_url, self.place.data)


class OursTwice(Ours):
    key = "ours-two"
    title = "jobsched, jobs, two beats"
    beats = 2


class OursPlain(Ours):
    key = "ours-plain"
    title = "jobsched, Celery tasks"
    of_jobs = False


class Stock(Contender):
    key = "stock"
    title = "stock beat, Celery tasks"
    ours = False
    largest = 100_000
    imports = (
        "import celery.bin.celery, django; django.setup(); "
        "import benchmarks.beat.stock_app, celery.apps.beat, django_celery_beat.schedulers"
    )

    def command(self, number: int) -> Command:
        scheduler = "django_celery_beat.schedulers:DatabaseScheduler"
        argv = python("celery", "-A", "benchmarks.beat.stock_app", "beat", "--pidfile=", "-S", scheduler)
        return Command(argv=argv, env=self.env())

    def env(self) -> dict[str, str]:
        return {
            "DJANGO_SETTINGS_MODULE": "benchmarks.beat.stock_settings",
            DATABASE_VARIABLE: self.place.database_url,
            BROKER_VARIABLE: self.place.servers.broker_url,
        }


CONTENDERS: Sequence[type[Contender]] = (Ours, OursTwice, OursPlain, Stock)


def our_environment(servers: Servers, database_url: str, data: Path) -> dict[str, str]:
    """Return what our own processes read from the environment."""
    return {
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "JOBSCHED_DATABASE_URL": database_url,
        "JOBSCHED_BROKER_URL": servers.broker_url,
        "JOBSCHED_SECRET_KEY": os.environ.get("JOBSCHED_SECRET_KEY") or secrets.token_urlsafe(48),
        "JOBSCHED_DATA_DIR": str(data),
        "JOBSCHED_QUEUES": QUEUE,
        "JOBSCHED_CALLABLE_MODULES": "benchmarks.callables",
        "JOBSCHED_LOG_LEVEL": "WARNING",
    }
