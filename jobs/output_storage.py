"""Where output of runs is stored that is too long for its row: a storage that nothing serves."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Final
from uuid import UUID, uuid4

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import FileSystemStorage, InMemoryStorage, InvalidStorageError, Storage, storages

from jobs.conf import conf

ALIAS: Final = "jobsched"
"""The key of `STORAGES` by which a project chooses another storage, such as a bucket."""

RUNS: Final = "runs"
"""The folder of all stored output in the storage."""
_STORE_FILE: Final = ".store"
_RANDOM_BYTES: Final = 16


def output_storage() -> Storage:
    """Return the storage `STORAGES["jobsched"]`, or else private files in the folder `output` of the data folder.

    Raises InvalidStorageError when the storage that is configured cannot be made.
    """
    if ALIAS in settings.STORAGES:
        return storages[ALIAS]
    return FileSystemStorage(
        location=conf().data_dir / "output", file_permissions_mode=0o600, directory_permissions_mode=0o700
    )


def output_folder() -> Path | None:
    """Return the folder of stored output, or None when it is not kept in files of this host."""
    storage = output_storage()
    return Path(storage.location) if isinstance(storage, FileSystemStorage) else None


def output_name(run_id: int, attempt: int, start: int) -> str:
    """Return a new name for the chunk of an attempt's output that begins at byte `start`.

    Names of one run sort in the order of its output. They cannot be guessed from the numbers.
    """
    return f"{RUNS}/{run_id // 10_000}/{run_id}/{attempt}-{start:012}-{token_hex(_RANDOM_BYTES)}.log"


def store_token(*, create: bool = False) -> UUID | None:
    """Return what identifies the folder of stored output, or None if it is not kept in files, or has no token yet.

    Every host that shares the folder finds the same. With `create`, it is made; raises OSError where it cannot be.
    """
    folder = output_folder()
    if folder is None:
        return None
    file = folder / _STORE_FILE
    if create:
        _make_token(file)
    try:
        return UUID(file.read_text().strip())
    except (OSError, ValueError):
        return None


def _make_token(file: Path) -> None:
    if file.exists():
        return
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Written whole under another name, so that no other worker reads a part of it; the first one counts.
    draft = file.with_name(f"{file.name}-{token_hex(_RANDOM_BYTES)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as opened:
            opened.write(f"{uuid4()}\n")
        with suppress(FileExistsError):
            os.link(draft, file)
    finally:
        draft.unlink()


def problem() -> str | None:
    """Return in one sentence why the storage is not fit for the output of runs, or None.

    Output may hold anything, so nobody may read it who is not allowed to see the run.
    """
    try:
        storage = output_storage()
    except (InvalidStorageError, ImproperlyConfigured) as error:
        return f"The storage of output cannot be made: {error}"
    if isinstance(storage, InMemoryStorage):
        return f"STORAGES['{ALIAS}'] keeps output in the memory of one process: name a storage that several can read."
    if isinstance(storage, FileSystemStorage):
        return _problem_of_files(storage)
    return _problem_of_bucket(storage)


def _problem_of_files(storage: FileSystemStorage) -> str | None:
    folder = Path(storage.location).resolve()
    for name, public in _public_folders():
        if folder.is_relative_to(public) or public.is_relative_to(folder / RUNS):
            return (
                f"Output of runs is stored in {folder}, which {name} ({public}) makes public: set "
                f"JOBSCHED['DATA_DIR'], or the location of STORAGES['{ALIAS}'], to a folder that is not served."
            )
    for option, mode in (
        ("file_permissions_mode", storage.file_permissions_mode),
        ("directory_permissions_mode", storage.directory_permissions_mode),
    ):
        if mode is None or mode & stat.S_IRWXO:
            shown = "not set" if mode is None else f"{mode:#o}"
            return (
                f"{option} of STORAGES['{ALIAS}'] is {shown}, so that other users of this host may read the output of "
                f"runs: set it to {0o600 if option.startswith('file') else 0o700:#o}."
            )
    return None


def _public_folders() -> Iterable[tuple[str, Path]]:
    for name in ("MEDIA_ROOT", "STATIC_ROOT"):
        if folder := getattr(settings, name, None):
            yield name, Path(folder).resolve()
    for entry in settings.STATICFILES_DIRS:
        yield "STATICFILES_DIRS", Path(entry[1] if isinstance(entry, list | tuple) else entry).resolve()


def _problem_of_bucket(storage: Storage) -> str | None:
    """Judge by the options that the storages for buckets of django-storages have."""
    acl = getattr(storage, "default_acl", None)
    if isinstance(acl, str) and acl.lower().startswith("public"):
        return f"default_acl of STORAGES['{ALIAS}'] is {acl!r}, so that anybody may read the output of runs: remove it."
    public = f"as for a bucket that anybody may read: keep output in a private bucket, and set STORAGES['{ALIAS}']"
    if getattr(storage, "querystring_auth", True) is False:
        return f"Addresses of stored output are not signed, {public} to one with querystring_auth=True."
    if domain := getattr(storage, "custom_domain", None):
        return f"Stored output has addresses in {domain}, {public} to one without custom_domain."
    return None
