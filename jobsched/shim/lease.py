"""The clock by which leases are measured, and the end of a run's lease as its own process sees it."""

from __future__ import annotations

import mmap
import struct
import time

from jobsched.domain.errors import JobschedError

_MOMENT = struct.Struct("=d")


class LeaseEnded(JobschedError):
    """The lease ended before the work started, so the work must not start: another worker may hold the run by now."""


def lease_clock() -> float:
    """Return the present moment in seconds since the machine started. Every lease is measured by this clock.

    It is CLOCK_BOOTTIME: unlike CLOCK_MONOTONIC it goes on while the machine is suspended. All processes of one
    machine read the same value, so a moment may be passed from one to another.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """The end of the present run's lease, in memory that the shim shares with the processes it forks.

    The shim writes it, at the start of a run and at each renewal; the run's process reads it before it starts work.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _MOMENT.size)

    def end_at(self, moment: float) -> None:
        """Set the moment at which the lease ends, by `lease_clock`."""
        _MOMENT.pack_into(self._memory, 0, moment)

    def check(self) -> None:
        """Raise LeaseEnded if the lease has ended. Call this immediately before work starts."""
        (moment,) = _MOMENT.unpack_from(self._memory, 0)
        if lease_clock() >= moment:
            raise LeaseEnded("the lease of this run ended before its work started")
