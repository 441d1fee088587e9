"""What the main process of a Celery worker shares with its pool children, in memory.

The children sit in a run's supervision and read no messages; the main process does. A few bytes are enough:
"this worker is stopping", since when, and a counter that says "look at the database now", e.g. because of a cancel.
The other way, the children write down when the database last answered them and when it last failed them. The main
process decides by that, and by questions of its own, whether the worker is cut off from the database.
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
_STOPPING, _LOOKS, _SINCE, _CUT_OFF_SINCE, _ANSWERED, _FAILED = 0, 1, 8, 16, 24, 32
_MOMENT = struct.Struct("d")


def stopping() -> bool:
    """Tell whether this worker was asked to stop: it claims nothing any more."""
    return _page[_STOPPING] != 0


def out_of_time() -> bool:
    """Tell whether this worker was asked to stop and its runs have had their time to end by themselves."""
    if not stopping():
        return False
    return lease_clock() >= _moment(_SINCE) + conf().stop_grace.total_seconds()


def looks() -> int:
    """Return a number that changes whenever running runs should look at the database before their heartbeat."""
    return _page[_LOOKS]


def look() -> None:
    """Make every slot of this worker look at the database now."""
    _page[_LOOKS] = (_page[_LOOKS] + 1) % 256


def cut_off_since() -> float | None:
    """Return the moment, by `lease_clock`, since which this worker cannot reach the database; None while it can."""
    return _moment(_CUT_OFF_SINCE) or None


def set_cut_off(since: float | None) -> None:
    """In the main process: note since when the database cannot be reached, for slots and remote control."""
    _MOMENT.pack_into(_page, _CUT_OFF_SINCE, since or 0.0)


def database_answered() -> None:
    """Write down that the database has answered a slot now."""
    _MOMENT.pack_into(_page, _ANSWERED, lease_clock())


def database_failed() -> None:
    """Write down that a slot could not reach the database now."""
    _MOMENT.pack_into(_page, _FAILED, lease_clock())


def last_answer() -> float:
    """Return when the database last answered a slot, by `lease_clock`; 0 before the first time."""
    return _moment(_ANSWERED)


def last_failure() -> float:
    """Return when a slot last could not reach the database, by `lease_clock`; 0 before the first time."""
    return _moment(_FAILED)


def _moment(at: int) -> float:
    (moment,) = _MOMENT.unpack_from(_page, at)
    return float(moment)


@worker_shutting_down.connect
def _stop(**_: Any) -> None:
    if not stopping():
        # This clock is the machine's: children read the same.
        _MOMENT.pack_into(_page, _SINCE, lease_clock())
        _page[_STOPPING] = 1
