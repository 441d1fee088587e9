"""Where processes of several users meet."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobsched.local.reach import public_temporary_folder


@contextmanager
def shared_folder(prefix: str) -> Iterator[Path]:
    """Make a temporary folder. Started by root, what benchmarks start has other users, who may write to it.

    The umask of this process then takes nothing away from what is made in the folder from here on.
    """
    with tempfile.TemporaryDirectory(prefix=prefix, dir=public_temporary_folder()) as folder:
        if os.geteuid() == 0:
            os.umask(0)
            Path(folder).chmod(0o777)
        yield Path(folder)
