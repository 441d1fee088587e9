"""Slots whose connection may lose a statement on its way, or the answer to one that was committed."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from enum import Enum
from typing import Any

from jobs.services.running.slot import SlotProcess
from jobs.store.session import Row, Session
from jobsched.domain.errors import Unavailable


class Fault(Enum):
    """What happens to a statement."""

    NONE = "none"
    NOT_SENT = "it never arrived"
    ANSWER_LOST = "it was committed and nobody was told"


class FaultySession(Session):
    """A slot's real session. `faults` befall its next statements, one each."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: deque[Fault] = deque()

    def __call__(self, sql: str, params: Mapping[str, Any]) -> list[Row]:
        fault = self.faults.popleft() if self.faults else Fault.NONE
        if fault is Fault.NOT_SENT:
            raise Unavailable("the connection was cut before the statement arrived")
        rows = super().__call__(sql, params)
        if fault is Fault.ANSWER_LOST:
            raise Unavailable("the connection was cut after the commit")
        return rows


class MachineSlot(SlotProcess):
    """A real slot on such a session."""

    def __init__(self, *, name: str) -> None:
        super().__init__(hostname=name)
        self.name = name
        self.session: FaultySession = FaultySession()
