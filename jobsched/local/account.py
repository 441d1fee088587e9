"""Who the processes of the local stack are when root starts it, and whose its files are."""

from __future__ import annotations

import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path

from jobsched.shim.users import USER_VARIABLE, User, service_user

PROJECT = Path(__file__).resolve().parents[2]


def choose_user(environ: MutableMapping[str, str]) -> None:
    """Name the service user in `environ` for everything that is started from here on.

    `sudo make up` in a user's own checkout: that user, who can then use the stack without sudo. In a checkout of
    root's: as `users.service_user` decides.
    """
    user = service_user(environ)
    if user is None:
        return
    if not environ.get(USER_VARIABLE):
        user = _owner_of_project() or user
    environ[USER_VARIABLE] = f"{user.uid}:{user.gid}"


def keeper(user: User) -> User:
    """Return who owns what the supervisor alone writes: root, or the owner of the checkout if that is `user`."""
    return user if user == _owner_of_project() else User(0, 0)


def give(path: Path, user: User) -> None:
    """Make a file, or a folder with all that is in it, belong to `user`. What belongs to it already is left alone."""
    if path.stat(follow_symlinks=False).st_uid == user.uid:
        return
    # The folder comes last: an interrupted change is then done again.
    for one in (*_below(path), path):
        os.chown(one, user.uid, user.gid, follow_symlinks=False)


def _below(path: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            yield Path(folder, name)


def _owner_of_project() -> User | None:
    """Return the owner of the nearest folder that is not root's, from the project's folder upwards."""
    for folder in (PROJECT, *PROJECT.parents):
        status = folder.stat()
        if status.st_uid != 0:
            return User(status.st_uid, status.st_gid)
    return None
