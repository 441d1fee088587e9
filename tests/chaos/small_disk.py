"""A disk so small that it can be filled, and room made on it again. Mounting takes root."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobsched.shim.users import service_user


class SmallDisk:
    """A file system in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Take all room, every last block of it."""
        with self._ballast.open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12):
                self._write_until_full(file.fileno(), bytes(size))

    def make_room(self) -> None:
        """Give the room back."""
        self._ballast.unlink(missing_ok=True)

    @staticmethod
    def _write_until_full(file: int, block: bytes) -> None:
        while True:
            try:
                os.write(file, block)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                return


@contextmanager
def small_disk(folder: Path, *, megabytes: int, files: int = 10_000) -> Iterator[SmallDisk]:
    """Put a disk of this size, for so many files, at `folder`, and take it away at the end.

    It belongs to the service user; runs may pass through it to their workspaces.
    """
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    user = service_user(os.environ)
    owner = "" if user is None else f",uid={user.uid},gid={user.gid}"
    options = f"size={megabytes}m,nr_inodes={files},mode=0711{owner}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "small-disk", str(folder)], check=True)
    try:
        yield SmallDisk(folder)
    finally:
        # Lazily: whoever still has files open there lets go of it later.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
