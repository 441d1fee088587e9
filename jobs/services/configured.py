"""Schedules of the Celery configuration (`beat_schedule`): each becomes a PeriodicTask, as with stock beat."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from celery import Celery, schedules
from celery.backends.base import DisabledBackend
from django.core.exceptions import ValidationError
from django.db import DatabaseError, DataError, IntegrityError, models, transaction
from django_celery_beat.models import PeriodicTask, PeriodicTasks
from django_celery_beat.schedulers import ModelEntry

logger = logging.getLogger(__name__)

CLEANUP: Final[dict[str, Any]] = {
    "task": "celery.backend_cleanup",
    "schedule": schedules.crontab(minute="0", hour="4"),
    "options": {"expire_seconds": 12 * 3600},
}


def install(app: Celery) -> None:
    """Make a PeriodicTask of each entry of `app.conf.beat_schedule`, or make it as the entry says.

    What is the same already is not written: a restart edits no schedule. Rows of entries that were removed from the
    configuration stay, and so does whether a row is enabled. An entry that no row can hold is logged and passed over.
    Raises OperationalError or InterfaceError when the database is away.
    """
    for name, entry in _entries(app).items():
        try:
            _install(name, entry)
        except (DataError, IntegrityError, ValidationError) as error:
            _explain(name, " ".join(error.messages) if isinstance(error, ValidationError) else str(error))
        except DatabaseError:
            raise
        except Exception as error:  # what stands in a configuration may be anything
            _explain(name, f"{type(error).__name__}: {error}")


def _explain(name: str, why: str) -> None:
    logger.error(
        "entry of beat_schedule not installed, correct it in the configuration and restart beat entry=%r error=%s",
        name,
        " ".join(why.split()),
    )


def _entries(app: Celery) -> dict[str, Mapping[str, Any]]:
    defaults = {"celery.backend_cleanup": CLEANUP} if app.conf.result_expires and _piles_up(app) else {}
    return {**defaults, **app.conf.beat_schedule}


def _piles_up(app: Celery) -> bool:
    """Tell whether there is a result backend, and one that does not drop expired results by itself."""
    try:
        return not isinstance(app.backend, DisabledBackend) and not app.backend.supports_autoexpire
    except Exception as error:  # whatever a backend raises that cannot be had on this host
        logger.warning("result backend cannot be used here, no cleaning of it scheduled error=%s", error)
        return False


def _install(name: str, entry: Mapping[str, Any]) -> None:
    if _is_installed(name, entry):
        return
    with transaction.atomic():
        # Every edit of a PeriodicTask writes this one row first; until the end of the transaction it is ours.
        PeriodicTasks.update_changed()
        if not _is_installed(name, entry):
            Entry.write(name, entry)
            logger.info("entry of beat_schedule installed entry=%r", name)


def _is_installed(name: str, entry: Mapping[str, Any]) -> bool:
    task = PeriodicTask.objects.filter(name=name).first()
    return task is not None and all(
        getattr(task, field) == (value or None if field in EMPTY_IS_NULL else value)
        for field, value in Entry.columns(entry, task).items()
    )


EMPTY_IS_NULL: Final = {"queue", "exchange", "routing_key"}
"""Columns that PeriodicTask.save() empties."""


class Entry(ModelEntry):  # type: ignore[misc]  # it comes without types
    """django-celery-beat's own conversion of a configured entry, without its habit of saving what it looks up."""

    @classmethod
    def columns(cls, entry: Mapping[str, Any], task: PeriodicTask | None) -> dict[str, Any]:
        """Return what the columns of a PeriodicTask should be. A schedule that no row holds yet is not saved."""
        columns: dict[str, Any] = cls._unpack_fields(**entry)
        for _, _, field in cls.model_schedules:
            kept = task and getattr(task, field)
            if kept and columns[field] and _content(kept) == _content(columns[field]):
                columns[field] = kept  # of several rows that say the same, the one that is in use
        return columns

    @classmethod
    def write(cls, name: str, entry: Mapping[str, Any]) -> None:
        """Make or update the PeriodicTask of an entry. Raises ValidationError for a schedule that makes no sense."""
        columns = cls.columns(entry, PeriodicTask.objects.filter(name=name).first())
        for _, _, field in cls.model_schedules:
            schedule = columns[field]
            if schedule is not None and schedule.pk is None:
                schedule.clean_fields()
                schedule.save()
        PeriodicTask.objects.update_or_create(name=name, defaults=columns)

    @classmethod
    def to_model_schedule(cls, schedule: Any) -> tuple[models.Model, str]:
        schedule = schedules.maybe_schedule(schedule)
        for kind, model, field in cls.model_schedules:
            if isinstance(schedule, kind):
                return model.from_schedule(schedule), field
        raise TypeError(f"{schedule!r} is no schedule; give a crontab, a solar event, a timedelta or seconds")


def _content(schedule: models.Model) -> dict[str, Any]:
    return {field.name: getattr(schedule, field.name) for field in schedule._meta.fields if not field.primary_key}
