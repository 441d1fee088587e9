"""What a schedule asks to be sent as a plain Celery task."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


class TaskMessage(Protocol):
    """What a PeriodicTask that names a plain Celery task asks to be sent, as its columns say it."""

    @property
    def name(self) -> str: ...
    @property
    def task(self) -> str: ...
    @property
    def args(self) -> str: ...
    @property
    def kwargs(self) -> str: ...
    @property
    def queue(self) -> str | None: ...
    @property
    def exchange(self) -> str | None: ...
    @property
    def routing_key(self) -> str | None: ...
    @property
    def headers(self) -> str | None: ...
    @property
    def priority(self) -> int | None: ...
    @property
    def expires(self) -> datetime | None: ...
    @property
    def expire_seconds(self) -> int | None: ...
    @property
    def now(self) -> datetime:
        """The database's clock: expiries count from it, as the clock of a beat's host may be wrong."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unsent:
    """A message that cannot be sent however often it is tried, and why."""

    message: TaskMessage
    why: str
