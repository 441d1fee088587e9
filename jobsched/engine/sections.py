"""The named parts of one attempt, each with its own output."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from jobsched.domain.outcomes import Section, Verdict
from jobsched.domain.texts import NAME_LIMIT, cut
from jobsched.engine.clip import KIB, Clip, as_text

_KEPT: Final = 64 * KIB
"""Bytes kept of the beginning, and of the end, of each section's output."""
_MOST: Final = 1000
"""Sections remembered for one attempt: memory must be bounded whatever the work announces."""


class Sections:
    """Records sections as the work announces them; output goes to the one that is open."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._finished: list[Section] = []
        self._planned: list[str] = []
        self._open: str | None = None
        self._clip = Clip(head=_KEPT, tail=_KEPT)
        self._opened_at = 0.0

    def plan(self, names: list[str]) -> None:
        self._planned = [cut(str(name), NAME_LIMIT) for name in names[:_MOST]]

    def begin(self, name: str) -> None:
        self.close(Verdict.FAILED)
        if len(self._finished) < _MOST:
            self._open, self._clip, self._opened_at = cut(name, NAME_LIMIT), Clip(head=_KEPT, tail=_KEPT), self._clock()

    def add(self, chunk: bytes) -> None:
        if self._open is not None:
            self._clip.add(chunk)

    def end(self, ended: dict[str, Any]) -> None:
        """Close the open section with what the work says of it."""
        verdict = ended.get("verdict")
        self._close(
            Verdict(verdict) if verdict else None,
            exit_code=ended.get("exit_code"),
            signal=ended.get("signal"),
            seconds=ended.get("duration_seconds"),
        )

    def close(self, verdict: Verdict) -> None:
        """Close a section that its work did not live to close."""
        self._close(verdict)

    def _close(
        self,
        verdict: Verdict | None,
        *,
        exit_code: int | None = None,
        signal: int | None = None,
        seconds: float | None = None,
    ) -> None:
        if self._open is None:
            return
        self._finished.append(
            Section(
                name=self._open,
                verdict=verdict,
                exit_code=exit_code,
                signal=signal,
                duration_seconds=self._clock() - self._opened_at if seconds is None else seconds,
                output=as_text(self._clip.render()),
            )
        )
        self._open = None

    def all(self) -> tuple[Section, ...]:
        """Return the finished sections, and after them those that were planned and never reached."""
        not_run = self._planned[len(self._finished) :]
        return (*self._finished, *(Section(name=name) for name in not_run))
