"""Freezes every slot that imports it between its claim and the start of the work, with all processes below it.

A worker names this module in JOBSCHED_IMPORTS. CHAOS_FREEZE_FROM says how many runs must have been claimed at once.
First attempts only are frozen, so that what is done again comes to its end.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from jobs.services.running.slot import SlotProcess
from jobs.store.claims import Claim, Settlement
from jobsched.shim.tree import descendants

_FROM: Final = int(os.environ.get("CHAOS_FREEZE_FROM", "1"))

_record = SlotProcess.record


def _record_and_freeze(self: SlotProcess, settlements: Sequence[Settlement], **options: Any) -> list[Claim]:
    claims = _record(self, settlements, **options)
    if len(claims) >= _FROM and all(claim.attempt == 1 for claim in claims):
        for pid in [*descendants(os.getpid()), os.getpid()]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
    return claims


SlotProcess.record = _record_and_freeze  # type: ignore[method-assign]
