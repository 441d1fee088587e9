"""Cover folders and files in a mount namespace, so that runs of the same user cannot open them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from jobsched.shim import libc

_NOTHING: Final = os.devnull


def cover(paths: Sequence[str], *, but: str | None) -> None:
    """Cover `paths`, except for the folder `but` inside of them. Raises OSError.

    The caller has a mount namespace of its own. A process in a user namespace below cannot take the cover away: the
    kernel locks mounts that it inherits from another user's namespace.
    """
    kept = os.open(but, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) if but is not None else -1
    try:
        for path in paths:
            if Path(path).is_dir():
                _cover_folder(path, but, kept)
            elif Path(path).exists():
                libc.bind(_NOTHING, path)
    finally:
        if kept >= 0:
            os.close(kept)


def _cover_folder(folder: str, but: str | None, kept: int) -> None:
    libc.mount_empty(folder)
    if but is not None and Path(but).is_relative_to(folder):
        Path(but).mkdir(mode=0o711, parents=True, exist_ok=True)
        libc.bind(f"/proc/self/fd/{kept}", but)
    libc.make_read_only(folder)
