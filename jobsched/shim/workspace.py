"""Removes the folder of one attempt, whatever its work made of it.

A folder may be nested deeper than Python recurses, paths are long and descriptors many; it may have been renamed, with
something else in its place; folders in it may deny all access. So it is walked by descriptors, one at a time: down
with `openat`, up with `..`, and no link is followed. What cannot be removed stays, and nothing is raised.

This file needs nothing but the standard library: `python workspace.py FOLDER…` removes folders.
"""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_Identity = tuple[int, int]


def hold(folder: str) -> int:
    """Open a folder, so that it can be removed even if it is renamed. Raises OSError."""
    return os.open(folder, _FOLDER)


def remove(folder: str, *, held: int | None = None) -> None:
    """Remove a folder with all that is in it, and whatever stands in its place. Closes `held`, which `hold` returned.

    Call this when the processes of the attempt are dead: a folder that is moved meanwhile stays where it is.
    """
    if held is not None:
        if _removed_empty(folder, held):  # most are
            os.close(held)
            return
        _remove_held(held)
    parent, name = os.path.split(folder)
    with suppress(OSError):
        # The user of a run may pass through its slot's folder, and not list it.
        above = os.open(parent or ".", _FOLDER | os.O_PATH)
        try:
            _remove_entry(name, above)
        finally:
            os.close(above)


def empty(folder: str, *, keep: str) -> None:
    """Remove all that is in a folder but the entry `keep`."""
    with suppress(OSError):
        here = os.open(folder, _FOLDER)
        try:
            for name in os.listdir(here):  # noqa: PTH208 - a Path cannot be made of a descriptor
                if name != keep:
                    with suppress(OSError):
                        _remove_entry(name, here)
        finally:
            os.close(here)


def _removed_empty(folder: str, held: int) -> bool:
    """Remove a folder with nothing in it. Return whether that was done, and the folder was the one that is held."""
    with suppress(OSError):
        os.rmdir(folder)  # noqa: PTH106
        return os.fstat(held).st_nlink == 0
    return False


def _remove_held(held: int) -> None:
    try:
        _clear(held)
        # Where it is now; the kernel adds a remark to the path of one that is gone already.
        path = os.readlink(f"/proc/self/fd/{held}")  # noqa: PTH115 - it may be no path at all
        if _identity(os.lstat(path)) == _identity(os.fstat(held)):
            os.rmdir(path)  # noqa: PTH106
    except OSError:  # moved into a folder that may not be written, or gone
        pass
    finally:
        os.close(held)


def _remove_entry(name: str, above: int) -> None:
    if stat.S_ISDIR(os.lstat(name, dir_fd=above).st_mode):
        folder = _open(name, above)
        try:
            _clear(folder)
        finally:
            os.close(folder)
        os.rmdir(name, dir_fd=above)
    else:
        os.unlink(name, dir_fd=above)


@dataclass(slots=True)
class _Level:
    """A folder on the way from the root of the walk to where it is now."""

    name: str
    identity: _Identity
    folders: list[str]
    """Those in it that have not been visited yet."""


def _clear(root: int) -> None:
    """Remove all that is in an open folder."""
    here = os.dup(root)
    try:
        path = [_enter("", here)]
        while True:
            level = path[-1]
            if level.folders:
                name = level.folders.pop()
                with suppress(OSError):  # it stays, and so do the folders above it
                    here = _replaced(here, _open(name, here))
                    path.append(_enter(name, here))
            elif len(path) == 1:
                return
            else:
                path.pop()
                here = _replaced(here, os.open("..", _FOLDER, dir_fd=here))
                if _identity(os.fstat(here)) != path[-1].identity:  # somebody moves what we remove
                    return
                with suppress(OSError):
                    os.rmdir(level.name, dir_fd=here)
    finally:
        os.close(here)


def _replaced(old: int, new: int) -> int:
    os.close(old)
    return new


def _enter(name: str, here: int) -> _Level:
    """Remove the files of an open folder, and note the folders in it."""
    about = os.fstat(here)
    level = _Level(name=name, identity=_identity(about), folders=[])
    if about.st_mode & stat.S_IRWXU != stat.S_IRWXU:
        with suppress(OSError):  # not ours: we may be allowed to remove from it all the same
            os.fchmod(here, stat.S_IRWXU)
    with suppress(OSError), os.scandir(here) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                level.folders.append(entry.name)
            else:
                with suppress(OSError):
                    os.unlink(entry.name, dir_fd=here)
    return level


def _open(name: str, above: int) -> int:
    """Open a folder, also one that denies it to its owner. Raises OSError, e.g. for another file system's."""
    try:
        folder = os.open(name, _FOLDER, dir_fd=above)
    except PermissionError:
        os.chmod(name, stat.S_IRWXU, dir_fd=above, follow_symlinks=False)
        folder = os.open(name, _FOLDER, dir_fd=above)
    if os.fstat(folder).st_dev != os.fstat(above).st_dev:
        os.close(folder)
        raise OSError(f"{name} is a file system of its own, which is not ours to empty")
    return folder


def _identity(about: os.stat_result) -> _Identity:
    return about.st_dev, about.st_ino


if __name__ == "__main__":
    for stale in sys.argv[1:]:
        remove(stale)
