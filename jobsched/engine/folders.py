"""Who may enter which folder, when our own processes and runs have different users."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Final

from jobsched.domain.errors import InvalidInput
from jobsched.shim.users import User, acting_as, become

_PASS_THROUGH: Final = 0o011


def prepare(data: Path, workspaces: Path, stores: Iterable[Path], service: User) -> None:
    """Make the folders that a worker writes into, as root, for `service`.

    Raises OSError, and InvalidInput when the data folder is one that users share.

    Runs may pass through the data folder to their workspaces, and see and open nothing else in it. Workspaces and
    stored output that an earlier worker made as root are given to `service`.
    """
    for folder in (data, workspaces, *stores):
        _make(folder, service)
    require_own(data)
    for folder in (workspaces, *stores):
        if _owner(folder, service) == 0:
            _give(folder, service)
    for folder in _way_to(workspaces, data):
        _let_through(folder, service)
    for entry in _private_entries(data, workspaces, service):
        with acting_as(service):
            _close(entry, service)


def require_own(data: Path) -> None:
    """Raise InvalidInput when the data folder is one that users share, such as /tmp, whose mode must not be changed."""
    if data.exists() and data.stat().st_mode & stat.S_ISVTX:
        raise InvalidInput(f"All users share {data}, so it cannot be the data folder; name a folder inside it.")


def _make(folder: Path, service: User) -> None:
    try:
        with acting_as(service):
            folder.mkdir(parents=True, exist_ok=True)
    except PermissionError:  # its parent is root's
        folder.mkdir(parents=True, exist_ok=True)
        os.chown(folder, service.uid, service.gid)


def _owner(folder: Path, service: User) -> int:
    """Root without CAP_DAC_OVERRIDE cannot pass through folders of the service user."""
    try:
        return folder.stat().st_uid
    except PermissionError:
        with acting_as(service):
            return folder.stat().st_uid


def _give(folder: Path, service: User) -> None:
    for _path, _folders, names, top in os.fwalk(folder):
        for name in names:
            if os.stat(name, dir_fd=top, follow_symlinks=False).st_uid == 0:
                os.chown(name, service.uid, service.gid, dir_fd=top, follow_symlinks=False)
        if os.fstat(top).st_uid == 0:
            os.fchown(top, service.uid, service.gid)


def _way_to(workspaces: Path, data: Path) -> list[Path]:
    """Return the folders from the data folder to the workspaces, the outermost first."""
    return [folder for folder in (*reversed(workspaces.parents), workspaces) if folder.is_relative_to(data)] or [
        workspaces
    ]


def _let_through(folder: Path, service: User) -> None:
    with _as_owner(folder, service):
        mode = stat.S_IMODE(folder.stat().st_mode)
        if mode & 0o077 != _PASS_THROUGH:
            folder.chmod(mode & 0o700 | _PASS_THROUGH)


def _close(entry: Path, service: User) -> None:
    status = entry.lstat()
    if status.st_uid == service.uid and not stat.S_ISLNK(status.st_mode) and status.st_mode & 0o077:
        entry.chmod(stat.S_IMODE(status.st_mode) & 0o700)


def closed_to(user: User, *, folder: Path) -> Path | None:
    """Return the first thing that `user` cannot read or enter on the way to `folder`, or to what every program needs.

    None if there is nothing. For root; forks a process to look.
    """
    return next(iter(_found_as(user, lambda: [closed] if (closed := _first_closed(folder)) else [])), None)


def readable(user: User, files: Iterable[Path]) -> list[Path]:
    """Return those of `files` that `user` can read. For root; forks a process to look."""
    return _found_as(user, lambda: [file for file in files if os.access(file, os.R_OK)])


def _found_as(user: User, look: Callable[[], list[Path]]) -> list[Path]:
    """Call `look` in a process of `user`, and return the paths that it returns."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            become(user)
            os.write(theirs, b"\0".join(os.fsencode(path) for path in look()))
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        found = pipe.read()
    os.waitpid(pid, 0)
    return [Path(os.fsdecode(path)) for path in found.split(b"\0") if path]


def _first_closed(folder: Path) -> Path | None:
    for path in (Path(sys.executable), *map(Path, sys.path)):
        if path.exists() and not os.access(path, os.R_OK | os.X_OK):
            return path
    for parent in (*reversed(folder.parents), folder):
        if not os.access(parent, os.F_OK):  # to be made
            return None
        if not os.access(parent, os.X_OK):
            return parent
    return None


def open_entries(data: Path, workspaces: Path, service: User) -> tuple[str, ...]:
    """Return the entries of the data folder, but for the way to the workspaces, that users of runs may open. For root.

    The folder is root's or the service user's: root without CAP_DAC_OVERRIDE cannot list the second.
    """
    with _as_owner(data, service):
        modes = {entry.name: entry.lstat().st_mode for entry in _private_entries(data, workspaces, service)}
    return tuple(sorted(name for name, mode in modes.items() if not stat.S_ISLNK(mode) and mode & 0o007))


def _private_entries(data: Path, workspaces: Path, service: User) -> list[Path]:
    with _as_owner(data, service):
        return [entry for entry in data.iterdir() if not workspaces.is_relative_to(entry)]


def _as_owner(folder: Path, service: User) -> AbstractContextManager[None]:
    return acting_as(service) if _owner(folder, service) == service.uid else nullcontext()
