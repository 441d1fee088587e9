"""What the measuring side asks of a contender."""

from __future__ import annotations

import os
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import psycopg

from benchmarks.errors import BenchmarkError
from benchmarks.processes import Command
from benchmarks.servers import Servers

WORKER_PROCESSES = 2
"""Everybody gets as many."""
PROJECT = Path(__file__).resolve().parents[2]
PATH_VARIABLE, DATABASE_VARIABLE, BROKER_VARIABLE = "BENCH_NOTES", "BENCH_DATABASE_URL", "BENCH_BROKER_URL"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a contender works."""

    servers: Servers
    notes: Path
    """The file of notes, an argument of every job."""
    data: Path


class Contender(ABC):
    """A system under measurement, with a database or a queue of its own.

    `backlog` is how many jobs keep it busy for some seconds on two cores.
    """

    key: ClassVar[str]
    title: ClassVar[str]
    settings: ClassVar[str]
    """What differs from its defaults, and what it promises, in a few words."""
    backlog: ClassVar[int]
    processes_tell_apart: ClassVar[bool] = True
    """Jobs run in the worker processes themselves, so that both can be seen at work."""

    def __init__(self, place: Place) -> None:
        self.place = place

    @abstractmethod
    def prepare(self) -> None:
        """Make its database and tables, and connect as a producer that keeps its connections."""

    @abstractmethod
    def commands(self) -> Sequence[Command]:
        """Return what to start: WORKER_PROCESSES processes that perform jobs, and what must run beside them."""

    @abstractmethod
    def enqueue(self, jobs: int) -> None:
        """Enqueue a backlog, by the fastest way it offers."""

    @abstractmethod
    def enqueue_one(self, number: int) -> None:
        """Enqueue one job with its number, as a program does in passing."""

    @abstractmethod
    def unfinished(self) -> int:
        """Return how many enqueued jobs it has not yet recorded as ended; 0 where it records nothing."""

    @abstractmethod
    def mark(self) -> None:
        """Remember what it has recorded so far."""

    @abstractmethod
    def check(self, jobs: int) -> None:
        """Raise BenchmarkError unless exactly `jobs` were recorded since the mark, in full."""

    @abstractmethod
    def clean(self) -> None:
        """Remove what `prepare` made."""

    def tidy(self) -> None:  # noqa: B027 - nothing to do where there is no database
        """Bring statistics and vacuum up to date before a measurement."""


class WithDatabase(Contender):
    """A contender that records jobs in a database of its own."""

    database: ClassVar[str]
    _connection: psycopg.Connection | None = None

    def make_database(self) -> str:
        self.url = self.place.servers.make_database(self.database)
        self._connection = psycopg.connect(self.url, autocommit=True)
        return self.url

    def ask(self, query: str, *parameters: object) -> int:
        """Return the one number that a query yields."""
        assert self._connection is not None, "prepare comes first"
        row = self._connection.execute(query, parameters).fetchone()
        return int(row[0] or 0) if row else 0

    def expect(self, wanted: int, what: str, query: str, *parameters: object) -> None:
        """Raise BenchmarkError unless a query counts `wanted`."""
        found = self.ask(query, *parameters)
        if found != wanted:
            raise BenchmarkError(f"{self.title}: {wanted} {what} were expected, and there are {found}.")

    def tidy(self) -> None:
        assert self._connection is not None, "prepare comes first"
        self._connection.execute("VACUUM ANALYZE")

    def clean(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self.place.servers.drop_database(self.database)


def run(argv: Sequence[str], env: dict[str, str]) -> None:
    """Run a command that sets something up. Raises BenchmarkError with what it said."""
    done = subprocess.run(argv, cwd=PROJECT, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"{' '.join(argv[:4])}… failed: {(done.stderr or done.stdout).strip()[-1500:]}")


def python(*words: str) -> list[str]:
    """Return a command line for a module of this environment."""
    return [sys.executable, "-m", *words]
