"""What the main process of a Celery worker shares with its pool children, in memory.

The children sit in a run's supervision and read no messages; the main process does. A few bytes are enough:
"this worker is stopping", since when, and a counter that says "look at the database now", e.g. because of a cancel.
"""

from __future__ import annotations

import mmap
import struct
from typing import Any

from celery.signals import worker_shutting_down

from jobs.conf import conf
from jobsched.shim.lease import lease_clock

# Anonymous memory made at import, before the pool forks, is the same page in every child.
_page = mmap.mmap(-1, mmap.PAGESIZE)
_STOPPING, _LOOKS, _SINCE = 0, 1, 8
_MOMENT = struct.Struct("d")


def stopping() -> bool:
    """Tell whether this worker was asked to stop: it claims nothing any more."""
    return _page[_STOPPING] != 0


def out_of_time() -> bool:
    """Tell whether this worker was asked to stop and its runs have had their time to end by themselves."""
    if not stopping():
        return False
    (since,) = _MOMENT.unpack_from(_page, _SINCE)
    return bool(lease_clock() >= since + conf().stop_grace.total_seconds())


def looks() -> int:
    """Return a number that changes whenever running runs should look at the database before their heartbeat."""
    return _page[_LOOKS]


def look() -> None:
    """Make every slot of this worker look at the database now."""
    _page[_LOOKS] = (_page[_LOOKS] + 1) % 256


@worker_shutting_down.connect
def _stop(**_: Any) -> None:
    if not stopping():
        # This clock is the machine's: children read the same.
        _MOMENT.pack_into(_page, _SINCE, lease_clock())
        _page[_STOPPING] = 1
