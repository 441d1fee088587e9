"""The file with a run's parameters for its commands: unlike a variable of the environment it may have any size."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

VARIABLE: Final = "JOBSCHED_PARAMS_FILE"


def file_beside(folder: Path) -> Path:
    """Return where the parameters of an attempt that works in `folder` are. The folder itself starts empty."""
    return folder.with_name(f"{folder.name}.params.json")


def write(params: dict[str, Any], folder: Path, *, readable_by_all: bool) -> None:
    """Write the parameters as JSON in UTF-8. Raises OSError.

    Only this user may read them. Where runs have a user of their own, every user may who knows the name of the file; it
    is in a folder that no other user can list.
    """
    descriptor = os.open(file_beside(folder), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        text = json.dumps(params, ensure_ascii=False)
        left = text.encode("utf-8", "surrogatepass")
        while left:
            left = left[os.write(descriptor, left) :]
        if readable_by_all:
            os.fchmod(descriptor, 0o644)
    finally:
        os.close(descriptor)
