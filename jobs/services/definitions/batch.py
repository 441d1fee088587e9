"""The jobs of one file on their way into the database: staged, compared, checked and then published at once.

Staging and comparing change no job, and may take as long as they need. Publishing is one transaction of a fixed number
of statements, and short however many jobs there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar

from django.db import DatabaseError, transaction
from django_celery_beat.models import PeriodicTasks

from jobs.services.definitions.columns import columns
from jobs.services.definitions.timing import refuse_never_due, rule_of_spec, wanted
from jobs.store import publishing, staging
from jobs.store.publishing import Collision
from jobs.store.session import django_connection, local_settings
from jobs.store.staging import Staged, Unchecked
from jobsched.domain.errors import Conflict, InvalidInput
from jobsched.domain.manifest import MOST_PROBLEMS
from jobsched.domain.specs import JobSpec

SLICE: Final = 250
"""Jobs that are staged in one transaction."""
_TRIES: Final = 3
"""How often a publication is tried when others make jobs of the same names at the same moments."""
_LOCKED_OUT: Final = frozenset({"55P03", "40P01"})
"""SQLSTATEs: a lock was not granted in time; a deadlock."""

T = TypeVar("T")

Progress = Callable[[int], None]
"""Is given how many more jobs are done; may raise to stop the work."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """The jobs of one file. `where` names the file in messages."""

    id: int
    project: str
    specs: Sequence[JobSpec]
    where: str = ""

    def stage(self, progress: Progress | None = None) -> None:
        """Store what each job should be. Raises InvalidInput with all that cannot run here, one a line."""
        now = datetime.now(UTC)
        problems = Problems()
        for numbered in _slices(list(enumerate(self.specs))):
            jobs: list[Staged] = []
            for position, spec in numbered:
                with problems.collected():
                    fields = columns(spec, where=self.place(spec))
                    schedule = wanted(spec, now=now)
                    jobs.append(Staged(position=position, name=spec.name, fields=fields, schedule=schedule))
            with transaction.atomic():
                staging.add(django_connection, self.id, jobs)
            if progress:
                progress(len(numbered))
        problems.raise_if_any()

    def compare_and_check(self, progress: Progress | None = None) -> None:
        """Compare with what there is, and refuse schedules that are new or change and will never be due."""
        with transaction.atomic():
            staging.compare(django_connection, self.id, project=self.project)
            unchecked = staging.unchecked(django_connection, self.id)
        now = datetime.now(UTC)
        problems = Problems()
        for some in _slices(unchecked):
            for one in some:
                with problems.collected():
                    self._refuse_never_due(one, now=now)
            staging.mark_checked(django_connection, self.id, [one.position for one in some])
            if progress:
                progress(0)
        problems.raise_if_any()

    def publish(self, *, actor: str, must_be_new: bool = False) -> list[tuple[str, str]]:
        """Make the jobs what is staged, and delete that. Call inside a transaction that ends soon afterwards.

        Return the name of each and `created`, `updated` or `unchanged`. Raises Conflict when others are changing the
        same jobs, or when the job must be new and is not.
        """
        for _ in range(_TRIES):
            try:
                with _patient(), transaction.atomic(), local_settings(django_connection, publishing.PATIENCE):
                    return self._publish(actor=actor, must_be_new=must_be_new)
            except Collision:
                continue  # the others have committed, so that their jobs are found now
        raise Conflict(
            "Other requests keep making jobs of the same names; nothing was applied. Try again when they have ended."
        )

    def _publish(self, *, actor: str, must_be_new: bool) -> list[tuple[str, str]]:
        publishing.lock(django_connection, self.id, project=self.project)
        # Again, for what others have changed since; hardly ever is anything left to be checked.
        self.compare_and_check()
        changes = publishing.changes(django_connection, self.id)
        if must_be_new and changes.created < len(self.specs):
            name = self.specs[0].name
            raise Conflict(f"There is a job '{name}' in project '{self.project}' already; change that one.")
        results = publishing.results(django_connection, self.id)
        publishing.publish(django_connection, self.id, project=self.project, actor=actor, wanted=changes)
        staging.clear(django_connection, self.id)
        if changes.of_schedules:
            # By it stock beats notice edits. All edits share the row, so it is not locked any earlier.
            transaction.on_commit(PeriodicTasks.update_changed, robust=True)
        return results

    def place(self, spec: JobSpec) -> str:
        """Return where a job stands, for messages."""
        return ", ".join(part for part in (self.where, f"job '{spec.name}'") if part)

    def _refuse_never_due(self, one: Unchecked, *, now: datetime) -> None:
        spec = self.specs[one.position]
        rule = rule_of_spec(spec, anchor=one.anchor or now, now=now)
        if rule is not None:
            refuse_never_due(rule, now=now, where=self.place(spec))


class Problems:
    """What is wrong with the jobs of a file: the first that are allowed in a message, and how many there are."""

    def __init__(self) -> None:
        self._found: list[InvalidInput] = []

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Collect an InvalidInput that is raised inside."""
        try:
            yield
        except InvalidInput as error:
            self._found.append(error)

    def raise_if_any(self) -> None:
        """Raise InvalidInput with what was collected, one a line."""
        if len(self._found) == 1:
            raise self._found[0]
        if self._found:
            lines = [str(error) for error in self._found[:MOST_PROBLEMS]]
            if len(self._found) > MOST_PROBLEMS:
                lines.append(f"… and {len(self._found) - MOST_PROBLEMS} more problems")
            raise InvalidInput("\n".join(lines))


@contextmanager
def _patient() -> Iterator[None]:
    """Raise Conflict where the database gives up waiting for somebody else."""
    try:
        yield
    except DatabaseError as error:
        if getattr(error.__cause__, "sqlstate", None) not in _LOCKED_OUT:
            raise
        raise Conflict(
            "Another request is changing some of the same jobs, or a schedule that they share; nothing was applied. "
            "Try again when it has ended."
        ) from error


def _slices(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), SLICE):
        yield items[start : start + SLICE]
