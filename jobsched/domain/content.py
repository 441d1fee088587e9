"""The typed view of a definition's stored content: what a run needs to know of its job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from jobsched.domain.outcomes import Background
from jobsched.domain.retry import RetryPolicy


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """One definition of a job, as the database keeps it. `on_lost` is `retry` or `fail`, `background` a Background."""

    kind: str
    spec: dict[str, Any]
    queue: str
    priority: int
    timeout_seconds: float | None
    grace_seconds: float
    max_wait_seconds: float | None
    deadline_seconds: float | None
    retries: RetryPolicy
    on_lost: str
    background: str
    env: dict[str, str]
    params: dict[str, Any]
    in_process: bool

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Read what the database trigger `jobs_keep_definition` wrote."""
        return cls(
            kind=data["kind"],
            spec=data["spec"],
            queue=data["queue"],
            priority=data["priority"],
            timeout_seconds=_seconds(data["timeout_seconds"]),
            grace_seconds=float(data["grace_seconds"]),
            # Definitions from before these keys do not name them.
            max_wait_seconds=_seconds(data.get("max_wait_seconds")),
            deadline_seconds=_seconds(data.get("deadline_seconds")),
            retries=RetryPolicy.model_validate(data["retries"]),
            on_lost=data["on_lost"],
            background=data.get("background", Background.WARN),
            env=data["env"],
            params=data["params"],
            in_process=data["in_process"],
        )


def _seconds(value: float | None) -> float | None:
    return None if value is None else float(value)
