"""Performs one attempt at a run and supervises it: output, heartbeats, time limit, cancel, lost lease."""

from __future__ import annotations

from jobsched.engine.slot import Slot
from jobsched.engine.watch import Pulse, Watch

__all__ = ["Pulse", "Slot", "Watch"]
