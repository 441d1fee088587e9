"""Remove output that belongs to no attempt, and move to the output store what that has not taken yet."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

from django.core.files.base import ContentFile
from django.core.files.storage import Storage

from jobs.models import OutputStore
from jobs.output_storage import RUNS, output_name, output_storage, store_token
from jobs.store import outputs
from jobs.store.session import django_connection
from jobsched.domain.errors import Unavailable

logger = logging.getLogger(__name__)

AT_ONCE = 500
NEW = timedelta(days=1)
"""An object that no row names may be one that a worker stored a moment ago."""


@dataclass(kw_only=True, slots=True)
class Cleaned:
    """How much was done."""

    stored: int = 0
    """Chunks that were moved from the database to the output store."""
    removed: int = 0
    """Chunks whose run or attempt was removed."""
    orphans: int = 0
    """Objects of the output store that no row names."""


def clean(*, older_than: timedelta = NEW) -> Cleaned:
    """Store what waits, and remove what belongs to no attempt, here and in stores that all hosts can read.

    Of objects that no row names, only those `older_than` this are removed. Raises Unavailable when the output store
    cannot be used; what was done until then stays done.
    """
    done = Cleaned()
    try:
        store = output_storage()
        done.removed = _remove_unneeded(store, _number_of_store())
        done.stored = _store_waiting(store)
        done.orphans = _remove_orphans(store, before=datetime.now(UTC) - older_than)
    except OSError as error:
        raise Unavailable(f"The output store cannot be used now: {error.strerror or error}.") from error
    return done


def _number_of_store() -> int | None:
    token = store_token()
    return OutputStore.objects.filter(token=token).values_list("pk", flat=True).first() if token else None


def _remove_unneeded(store: Storage, here: int | None) -> int:
    removed = 0
    stores = [] if here is None else [here]
    while rows := outputs.unneeded(django_connection, stores=stores, limit=AT_ONCE):
        for row in rows:
            if row.key is not None:
                _delete(store, row.key)
        outputs.forget(django_connection, [row.id for row in rows])
        removed += len(rows)
    return removed


def _register_store() -> int | None:
    """Note in the database where this host keeps output, as workers do. None where all hosts can read it."""
    token = store_token(create=True)
    return None if token is None else outputs.register_store(django_connection, token, host=socket.gethostname())


def _store_waiting(store: Storage) -> int:
    stored = 0
    while attempts := outputs.ended_with_waiting(django_connection, limit=AT_ONCE):
        here = _register_store()
        for run_id, attempt in attempts:
            while chunk := outputs.waiting(django_connection, run_id, attempt):
                key = store.save(output_name(run_id, attempt, chunk.start), ContentFile(chunk.data))
                if outputs.record_stored(django_connection, chunk, key=key, store=here):
                    stored += 1
                else:
                    _delete(store, key)
    return stored


def _remove_orphans(store: Storage, *, before: datetime) -> int:
    removed = 0
    for folder in list(_folders(store)):
        names = iter(_list(store, folder)[1])
        while keys := [f"{folder}/{name}" for name in islice(names, AT_ONCE)]:
            known = outputs.named(django_connection, keys)
            for key in keys:
                if key not in known and _is_older(store, key, before):
                    _delete(store, key)
                    removed += 1
        with suppress(OSError, NotImplementedError):  # the folder itself, where there are folders and it is empty
            if _list(store, folder) == ([], []):
                store.delete(folder)
    return removed


def _folders(store: Storage) -> Iterator[str]:
    """Yield the folders that may hold output: one for ten thousand runs, and in it one for each run."""
    for thousands in _list(store, RUNS)[0]:
        for run in _list(store, f"{RUNS}/{thousands}")[0]:
            yield f"{RUNS}/{thousands}/{run}"
        yield f"{RUNS}/{thousands}"


def _list(store: Storage, folder: str) -> tuple[list[str], list[str]]:
    try:
        folders, names = store.listdir(folder)
    except FileNotFoundError:
        return [], []
    return list(folders), list(names)


def _is_older(store: Storage, key: str, moment: datetime) -> bool:
    try:
        return store.get_modified_time(key) < moment
    except FileNotFoundError:
        return False


def _delete(store: Storage, key: str) -> None:
    with suppress(FileNotFoundError):
        store.delete(key)
