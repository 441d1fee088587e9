"""What is found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    """How bad it is."""

    ERROR = "error"
    """A promise does not hold, or nothing is done."""
    WARNING = "warning"
    """It works, and may not when it matters."""
    UNKNOWN = "unknown"
    """It could not be read from here."""
    FINE = "fine"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was looked at."""

    about: str
    """postgresql, celery, rabbitmq, queues, workers, beat, jobs, leases or host"""
    check: str
    """A short name that stays the same, for programs."""
    level: Level
    sentence: str
    """What is so, and if it should not be: what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """All that was looked at, in order."""

    findings: list[Finding]

    @property
    def healthy(self) -> bool:
        """Nothing is wrong at level error."""
        return all(finding.level is not Level.ERROR for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON for programs."""
        return {"healthy": self.healthy, "findings": [asdict(finding) for finding in self.findings]}


def first_line(error: BaseException) -> str:
    """Return what an error says: the rest of a psycopg error is where it happened in the statement."""
    return (str(error) or type(error).__name__).strip().splitlines()[0]


class Notes:
    """Collects findings about one thing."""

    def __init__(self, about: str) -> None:
        self.found: list[Finding] = []
        self._about = about

    def error(self, check: str, sentence: str) -> None:
        self._add(check, Level.ERROR, sentence)

    def warning(self, check: str, sentence: str) -> None:
        self._add(check, Level.WARNING, sentence)

    def unknown(self, check: str, sentence: str) -> None:
        self._add(check, Level.UNKNOWN, sentence)

    def fine(self, check: str, sentence: str) -> None:
        self._add(check, Level.FINE, sentence)

    def _add(self, check: str, level: Level, sentence: str) -> None:
        self.found.append(Finding(about=self._about, check=check, level=level, sentence=sentence))
