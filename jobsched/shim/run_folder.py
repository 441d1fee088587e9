"""What is in the folder of one attempt: the fresh folder that its commands start in, and one for temporary files.

Runs of one slot may have the same user, and could read what an earlier one left in /tmp. Both folders are removed with
the attempt's.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

_WORK: Final = "work"
_TEMPORARY: Final = "tmp"
_ONLY_OWNER: Final = 0o700


def lay_out(folder: str) -> Path:
    """In a run's process: make both folders, name the second in TMPDIR, and return the first. Raises OSError."""
    workspace, temporary = workspace_in(folder), f"{folder}/{_TEMPORARY}"
    for made in (workspace, temporary):
        os.mkdir(made, _ONLY_OWNER)  # noqa: PTH102 - every run pays for a Path
    os.environ["TMPDIR"] = temporary
    return Path(workspace)


def workspace_in(folder: str) -> str:
    """Return the path of the folder that the commands of an attempt start in."""
    return f"{folder}/{_WORK}"


def attempt_of(workspace: Path) -> Path:
    """Return the folder of the attempt that a workspace is in."""
    return workspace.parent


def remove_empty(held: int) -> None:
    """Remove both folders from an open folder of an attempt if nothing is in them, as is the case after most runs."""
    for name in (_TEMPORARY, _WORK):
        with suppress(OSError):
            os.rmdir(name, dir_fd=held)
