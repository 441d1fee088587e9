"""The results of attempts. Values only: other modules record them and decide what follows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from jobsched.domain.texts import NAME_LIMIT, cut


class Verdict(StrEnum):
    """How one attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    LOST = "lost"
    """Its worker died or lost its lease; whether the work took effect is unknown."""
    HANDED_BACK = "handed_back"
    """It goes back to its queue and is not counted: its worker is stopping, its work was not started in time, or it is
    not known whether it had begun."""


class Background(StrEnum):
    """What it means that processes of a run are still running when its work has ended. They are killed in any case."""

    WARN = "warn"
    """The run carries a warning."""
    FAIL = "fail"
    """The run fails."""
    IGNORE = "ignore"
    """Nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """One named part of an attempt: a step of a `steps` job, with its own output and duration."""

    name: str
    verdict: Verdict | None = None
    exit_code: int | None = None
    signal: int | None = None
    """As of an outcome."""
    duration_seconds: float | None = None
    output: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "signal": self.signal,
            "duration_seconds": self.duration_seconds,
            "output": self.output,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What an executor reports, and what the store records.

    `reason` is one sentence for a person; `error` is the class name of an exception, for retry rules;
    `retry_after_seconds` and `no_retry` are what the work itself asks for and overrule the job's policy.
    """

    verdict: Verdict
    reason: str = ""
    exit_code: int | None = None
    signal: int | None = None
    """The number of the signal that ended the work. `exit_code` is then 128 more, as shells report it."""
    http_status: int | None = None
    error: str | None = None
    error_bases: tuple[str, ...] = ()
    """The names of the classes that the exception's class is derived from."""
    result: Any = None
    warning: str = ""
    """One sentence for a person about something that does not decide the verdict."""
    no_retry: bool = False
    retry_after_seconds: float | None = None

    def with_texts_cut(self) -> Self:
        """Return the outcome with each text cut to its limit. All else stays: texts decide nothing."""
        return replace(
            self,
            reason=cut(self.reason),
            error=None if self.error is None else cut(self.error, NAME_LIMIT),
            warning=cut(self.warning),
        )

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        bases = tuple(data.get("error_bases", ()))
        return cls(**{**data, "verdict": Verdict(data["verdict"]), "error_bases": bases})


@dataclass(frozen=True, kw_only=True, slots=True)
class Assignment:
    """All that is needed to perform one attempt, and nothing that is secret. Sent to the child as JSON."""

    run_id: int
    attempt: int
    """Which claim of the run this is: part of the fence, never goes back."""
    tries: int = 1
    """Which try this is in the count of the retry policy: attempts that a stopping worker handed back are left out."""
    project: str
    job: str
    kind: str
    spec: dict[str, Any]
    params: dict[str, Any] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    timeout_seconds: float | None = None
    """How long this attempt may take."""
    deadline_seconds: float | None = None
    """How long the whole run may go on from the moment this is handed out."""
    grace_seconds: float = 10.0
    background: str = Background.WARN
    scheduled_for: datetime | None = None

    @property
    def all_params(self) -> dict[str, Any]:
        """Return the parameters, and the run's instant as `scheduled_for` unless one of them has that name."""
        if self.scheduled_for is None:
            return self.params
        return {"scheduled_for": self.scheduled_for.isoformat(), **self.params}

    @property
    def limit_seconds(self) -> float | None:
        """Return how long this attempt may take, be it for its own limit or for the deadline of the whole run."""
        limits = [limit for limit in (self.timeout_seconds, self.deadline_seconds) if limit is not None]
        return min(limits) if limits else None

    @property
    def why_timed_out(self) -> str:
        """Say which of the two it is that ends an attempt which takes too long."""
        if self.limit_seconds != self.timeout_seconds:
            return "the deadline of the whole run passed"
        return f"ran longer than its limit of {self.timeout_seconds or 0:g} s"

    def to_json(self) -> dict[str, Any]:
        data = {name: getattr(self, name) for name in self.__slots__}
        data["scheduled_for"] = self.scheduled_for.isoformat() if self.scheduled_for else None
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        due = data.get("scheduled_for")
        return cls(**{**data, "scheduled_for": datetime.fromisoformat(due) if due else None})


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """A process that was ended with its run, and how: an entry of a receipt.

    `pid` is its number among the processes of the run, which may have numbers of their own.
    """

    pid: int
    name: str
    ended: str
    """such as `signal 9 (SIGKILL)`"""

    def to_json(self) -> dict[str, Any]:
        return {"pid": self.pid, "name": self.name, "ended": self.ended}


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Output of an attempt from byte `start` on. It replaces what was passed on before from `replaces_from` on."""

    start: int
    data: bytes
    replaces_from: int
    final: bool
    """Nothing will replace it."""

    @property
    def stop(self) -> int:
        """Return the offset behind its last byte."""
        return self.start + len(self.data)


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What the engine returns for one attempt: the outcome and what was seen of it."""

    outcome: Outcome
    output: bytes = b""
    """The combined stdout and stderr: all of it if it is short, or its first and last part with a line between."""
    output_total: int = 0
    """How many bytes were written altogether."""
    output_rest: tuple[Part, ...] = ()
    """What was not passed on while the work went on, in order."""
    sections: tuple[Section, ...] = ()
    killed: int = 0
    """How many processes of the run had to be killed after its end or at its limit."""
    processes: tuple[Ended, ...] = ()
    """Those that were alive when the run was ended, up to a hundred, and how each ended."""
