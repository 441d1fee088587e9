"""Files of jobs that take longer than a request may: a thread of the web process works on them, and clients ask.

    POST ── stored ── staged in slices ── compared and checked ── published in one transaction ── applied
                        └── refused, or cancelled by its client: nothing of it was applied

Until it is published, no job changes and nobody else waits. A process that dies leaves the request behind; whoever is
asked about it next begins another attempt.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from typing import Final

from django.db import DatabaseError, InterfaceError, OperationalError, connections, transaction

from jobs.services.definitions import saving
from jobs.services.definitions.batch import Batch
from jobs.store import applies, publishing, staging
from jobs.store.applies import Apply
from jobs.store.session import django_connection
from jobsched.domain import manifest, yamltree
from jobsched.domain.errors import Conflict, InvalidInput, JobschedError, NotFound
from jobsched.domain.storable import check_storable

logger = logging.getLogger(__name__)

AT_ONCE_BYTES: Final = 64 * 1024
"""A file of up to this length, some hundred jobs, is applied before the request is answered."""
_MOST_AT_ONCE: Final = 2
"""Files that one process works on at a time; others wait."""
_TOUCH_SECONDS: Final = 3.0
_MOST_ATTEMPTS: Final = 3
_MANY: Final = 1000
"""After so many new jobs, the statistics of their tables are out of date."""
_FAILED: Final = "Something went wrong here, and the server's log says what; nothing was applied."

_places = threading.BoundedSemaphore(_MOST_AT_ONCE)


class _Stopped(Exception):
    """The request was cancelled, or another attempt at it has begun."""


def request(source: str, *, filename: str, actor: str, key: str | None = None) -> Apply:
    """Apply a file, or begin to: all its jobs, or none.

    A short file is applied within the call; then InvalidInput and Conflict say why it is not. For any other see its
    `state`, here and in `look`. The same `key` names the same request, however often it is made.
    """
    digest = _digest(source, filename)
    if key is not None and applies.find(django_connection, actor=actor, key=key):
        return _same(look(actor=actor, key=key), digest)
    _refuse_unstorable(source, filename)
    batch = staging.new_batch(django_connection)
    made = applies.create(
        django_connection, batch=batch, actor=actor, key=key, filename=filename, source=source, digest=digest
    )
    if made is None:  # the same request came twice at the same moment
        return _same(look(actor=actor, key=key), digest)
    if len(source.encode()) > AT_ONCE_BYTES:
        _start(batch, filename=filename, actor=actor)
    else:
        _apply_now(batch, source, filename=filename, actor=actor)
    return look(actor=actor, id=made)


def look(*, actor: str, id: int | None = None, key: str | None = None) -> Apply:
    """Return how far a request is. Raises NotFound.

    One whose process has died is begun again by the process that is asked here.
    """
    found = applies.find(django_connection, actor=actor, id=id, key=key)
    if found is None:
        raise NotFound(f"There is no apply {id or key} of yours; its outcome is kept for a day.")
    if not found.is_stale:
        return found
    if found.attempts >= _MOST_ATTEMPTS:
        error = (
            f"The work on the file was interrupted {found.attempts} times, and the server's log says why; nothing was "
            "applied."
        )
        applies.refuse(django_connection, found.batch, error=error, is_conflict=False)
    else:
        batch = staging.new_batch(django_connection)
        if applies.take_over(django_connection, found.id, former=found.batch, batch=batch):
            staging.clear(django_connection, found.batch)
            logger.warning("apply begun again, its process is gone apply=%d actor=%s", found.id, actor)
            _start(batch, filename=found.filename, actor=actor)
    return look(actor=actor, id=found.id)


def cancel(id: int, *, actor: str) -> Apply:
    """End a request that is not applied yet. Raises NotFound, and Conflict when it has ended."""
    found = look(actor=actor, id=id)
    if not applies.cancel(django_connection, id, actor=actor):
        raise Conflict(f"Apply {id} is {look(actor=actor, id=id).state} already; it cannot be cancelled any more.")
    staging.clear(django_connection, found.batch)
    logger.info("apply cancelled apply=%d actor=%s", id, actor)
    return look(actor=actor, id=id)


def outcome(found: Apply) -> list[saving.Applied] | None:
    """Return the jobs of a file that is applied, None while it is not.

    Raises InvalidInput or Conflict for one that was refused, and Conflict for one that was cancelled.
    """
    if found.state == "refused":
        raise Conflict(found.error) if found.is_conflict else InvalidInput(found.error)
    if found.state == "cancelled":
        raise Conflict(f"Apply {found.id} was cancelled; nothing was applied.")
    if found.state == "checking":
        return None
    return [
        saving.Applied(project=found.project, name=name, result=saving.Result(result)) for name, result in found.results
    ]


def _digest(source: str, filename: str) -> str:
    return sha256(f"{filename}\0{source}".encode("utf-8", "surrogatepass")).hexdigest()


def _same(found: Apply, digest: str) -> Apply:
    if found.digest != digest:
        raise Conflict("This Idempotency-Key belongs to another file that was sent before; use a new one for each.")
    return found


def _refuse_unstorable(source: str, filename: str) -> None:
    try:
        check_storable([source, filename])
    except ValueError as error:
        manifest.parse(source, filename=filename)  # names the place in the file
        raise InvalidInput(str(error), where="filename") from error
    if len(source.encode()) > yamltree.MOST_BYTES:
        manifest.parse(source, filename=filename)  # refuses it


def _apply_now(batch: int, source: str, *, filename: str, actor: str) -> None:
    try:
        file = manifest.parse(source, filename=filename)
        with transaction.atomic():
            outcomes = saving.apply_jobs(file.jobs, project=file.project, actor=actor, where=filename)
            results = [(one.name, str(one.result)) for one in outcomes]
            if not applies.finish(django_connection, batch, project=file.project, results=results):
                raise _Stopped
    except _Stopped:
        pass  # whoever stopped it has recorded that
    except JobschedError as error:
        applies.refuse(django_connection, batch, error=str(error), is_conflict=isinstance(error, Conflict))
    except (OperationalError, InterfaceError):
        raise  # it stays open: a client that asks again with its key has it begun again
    except Exception:
        with suppress(DatabaseError):
            applies.refuse(django_connection, batch, error=_FAILED, is_conflict=False)
        raise


def _start(batch: int, *, filename: str, actor: str) -> None:
    """Work on a request in a thread. It ends with its process, and leaves nothing half-done then."""
    threading.Thread(target=_work, args=(batch, filename, actor), name=f"apply-{batch}", daemon=True).start()


def _work(batch: int, filename: str, actor: str) -> None:
    try:
        with _touched(batch), _places:
            _apply(batch, filename=filename, actor=actor)
    except _Stopped:
        with suppress(DatabaseError):
            staging.clear(django_connection, batch)
    except (OperationalError, InterfaceError) as error:
        # Whoever is asked about it next begins again.
        logger.warning("apply interrupted by the database batch=%d error=%s", batch, error)
    except Exception as error:
        if not isinstance(error, JobschedError):
            logger.exception("apply failed batch=%d actor=%s", batch, actor)
        sentence = str(error) if isinstance(error, JobschedError) else _FAILED
        with suppress(DatabaseError):
            applies.refuse(django_connection, batch, error=sentence, is_conflict=isinstance(error, Conflict))
            staging.clear(django_connection, batch)
    finally:
        connections.close_all()


def _apply(batch_id: int, *, filename: str, actor: str) -> None:
    source = applies.source(django_connection, batch_id)
    if source is None:
        raise _Stopped
    file = manifest.parse(source, filename=filename)
    batch = Batch(id=batch_id, project=file.project, specs=file.jobs, where=filename)
    progress = _Progress(batch_id, total=len(file.jobs))
    progress(0)
    batch.stage(progress)
    staging.count_anew(django_connection)
    batch.compare_and_check(progress)
    with transaction.atomic():
        results = batch.publish(actor=actor)
        if not applies.finish(django_connection, batch_id, project=file.project, results=results):
            raise _Stopped
    saved = saving.log(results, project=file.project, actor=actor)
    if sum(one.result is saving.Result.CREATED for one in saved) >= _MANY:
        publishing.count_anew(django_connection)


class _Progress:
    """Records how many jobs of a file are staged. Raises _Stopped when the file is not to be applied any more."""

    def __init__(self, batch: int, *, total: int) -> None:
        self._batch = batch
        self._total = total
        self._checked = 0

    def __call__(self, more: int) -> None:
        self._checked += more
        if not applies.progress(django_connection, self._batch, checked=self._checked, total=self._total):
            raise _Stopped


@contextmanager
def _touched(batch: int) -> Iterator[None]:
    """Show every few seconds that somebody works on a request, also while it waits or a long file is parsed."""
    done = threading.Event()

    def touch() -> None:
        while not done.wait(_TOUCH_SECONDS):
            try:
                with suppress(DatabaseError):  # it may be back in a moment
                    applies.touch(django_connection, batch)
            finally:
                connections.close_all()  # however many files wait, they hold no connections

    threading.Thread(target=touch, name=f"apply-{batch}-touch", daemon=True).start()
    try:
        yield
    finally:
        done.set()
