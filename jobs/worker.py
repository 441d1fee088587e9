"""What the main process of a Celery worker tells its pool children, through memory they share.

The children sit in a run's supervision and read no messages; the main process does. Two bytes are enough:
"this worker is stopping", and a counter that says "look at the database now", e.g. because of a cancel.
"""

from __future__ import annotations

import mmap
from typing import Any

from celery.signals import worker_shutting_down

# Anonymous memory made at import, before the pool forks, is the same page in every child.
_page = mmap.mmap(-1, mmap.PAGESIZE)
_STOPPING, _LOOKS = 0, 1


def stopping() -> bool:
    """Tell whether this worker was asked to stop: no new claims, and runs are handed back after their grace."""
    return _page[_STOPPING] != 0


def looks() -> int:
    """Return a number that changes whenever running runs should look at the database before their heartbeat."""
    return _page[_LOOKS]


def look() -> None:
    """Make every slot of this worker look at the database now."""
    _page[_LOOKS] = (_page[_LOOKS] + 1) % 256


@worker_shutting_down.connect
def _stop(**_: Any) -> None:
    _page[_STOPPING] = 1
