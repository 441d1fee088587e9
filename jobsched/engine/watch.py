"""What the engine needs from its caller while an attempt runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from jobsched.domain.outcomes import Part


@dataclass(frozen=True, kw_only=True, slots=True)
class Pulse:
    """The answer to one heartbeat.

    `deadline` is in seconds by `jobsched.shim.lease.lease_clock`: the work must be dead by then unless it is renewed.
    Count it from the moment the renewal was sent, not from its answer.
    """

    deadline: float
    lost: bool = False
    """The lease belongs to somebody else now, or to nobody: kill the work at once."""
    cancel_requested: bool = False


class Watch(Protocol):
    """Supplied by the caller for one attempt; every method is called in the thread that called `perform`."""

    heartbeat_seconds: float
    """How long after a renewal was sent the next is sent."""
    lease_seconds: float
    """How long after a renewal was sent its deadline is."""
    output_limit: int
    """Bytes of output that are kept; of longer output, the beginning and the end are."""

    def heartbeat(self) -> Pulse:
        """Renew the lease and ask for news. Raises `Unavailable` when the database cannot be reached."""

    def nudged(self) -> bool:
        """Tell whether to ask for news before the next heartbeat is due. Called about twice a second; be quick."""

    def stopping(self) -> bool:
        """Tell whether this worker stops, so that the work is to be ended and its run handed back.

        Asks no database, which may be away. Called in each turn of the loop; be quick.
        """

    def flush(self, part: Part) -> None:
        """Take new output. It is called twice a second, and for each 256 KiB of output that is printed faster.

        Raises `Unavailable` when it cannot be stored now; it is offered again later. While much waits, the work waits
        until it can print on.
        """
