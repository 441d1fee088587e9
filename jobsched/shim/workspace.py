"""A fresh folder for one attempt, removed after it."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path


def remove(folder: str) -> None:
    """Remove a folder with all that is in it, also where the work took away its own permissions."""
    shutil.rmtree(folder, ignore_errors=True)
    path = Path(folder)
    if not path.exists():
        return
    for parent, folders, _files in os.walk(folder):
        for name in folders:
            inner = Path(parent, name)
            if not inner.is_symlink():
                inner.chmod(stat.S_IRWXU)
    shutil.rmtree(folder, ignore_errors=True)
