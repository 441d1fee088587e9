"""Take a forked process away from the descriptors of the one it came from."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path


def neutralise(keep: Collection[int]) -> None:
    """Point every inherited descriptor above 2 that is not in `keep`, and stdin, at /dev/null.

    They are the slot's connections to PostgreSQL and the broker: nothing here may talk on them. They are replaced
    and not closed because objects that still own the numbers live on in this process: were a number used again,
    the end of such an object would close, or say goodbye on, a descriptor that is ours.
    """
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    for number in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        if number > 2 and number != null and number not in keep:
            _replace(number, null)
    os.close(null)


def _replace(number: int, null: int) -> None:
    try:
        os.fstat(number)
    except OSError:  # the descriptor that listed the folder
        return
    os.dup2(null, number, inheritable=False)
