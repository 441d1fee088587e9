"""The guard's timer: it expires shortly after a lease whose work the shim should have killed."""

from __future__ import annotations

import math
import time
from typing import Final

from jobsched.shim import libc

_LATE_SECONDS: Final = 0.5
"""How long after the deadline the shim may be at work on the kill: a lease lasts a second longer than its deadline."""


class Alarm:
    """Set by the shim, watched by the guard; made before the fork that separates them. It costs no message."""

    def __init__(self) -> None:
        self.descriptor = libc.make_timer(time.CLOCK_BOOTTIME)

    def set(self, deadline: float) -> None:
        """Expire after `deadline`, a moment of `lease_clock`."""
        libc.set_timer(self.descriptor, 0.0 if math.isinf(deadline) else max(deadline + _LATE_SECONDS, 1e-9))

    def clear(self) -> None:
        """Do not expire: the work is dead."""
        libc.set_timer(self.descriptor, 0.0)
