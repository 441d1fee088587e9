"""The jobs of the machine: one for each way in which the life of a run differs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from jobsched.domain.retry import LOST_RETRIES

MANIFEST: Final = """
jobs:
  - name: hourly
    schedule: "0 * * * *"
    catch_up: {policy: all, limit: 100, window: 7d}
    overlap: allow
    run: "true"
    retries: {max: 2, backoff: 1m, strategy: fixed}
  - name: once
    run: "true"
    on_lost: fail
  - name: alone
    run: "true"
    overlap: queue
    retries: {max: 1, backoff: 1m}
  - name: impatient
    run: "true"
    max_wait: 1h
    deadline: 1d
    retries: {max: 5, backoff: 1m, strategy: linear}
  - name: batched
    call: sample.trusted
    retries: {max: 1, backoff: 1m}
  - name: never batched
    call: sample.trusted
    on_lost: fail
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What the manifest says of a job, in numbers that the checks reckon with."""

    name: str
    retries: int
    """How many attempts may follow one that failed or ran out of time."""
    retries_when_lost: int
    in_process: bool = False
    alone: bool = False

    @property
    def most_tries(self) -> int:
        return 1 + max(self.retries, self.retries_when_lost)


FACTS: Final = {
    facts.name: facts
    for facts in (
        Facts(name="hourly", retries=2, retries_when_lost=LOST_RETRIES),
        Facts(name="once", retries=0, retries_when_lost=0),
        Facts(name="alone", retries=1, retries_when_lost=LOST_RETRIES, alone=True),
        Facts(name="impatient", retries=5, retries_when_lost=5),
        Facts(name="batched", retries=1, retries_when_lost=LOST_RETRIES, in_process=True),
        Facts(name="never batched", retries=0, retries_when_lost=0, in_process=True),
    )
}
