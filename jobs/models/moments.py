"""The field of a moment: UTC when it is read, whatever time zone the database's session has."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import models

from jobsched.domain.wallclock import utc


class MomentField(models.DateTimeField):  # type: ignore[type-arg]  # takes none at run time
    """A DateTimeField that reads as UTC.

    Django reads a DateTimeField in the zone that `DATABASES["default"]["TIME_ZONE"]` names, and Python counts moments
    of one zone by the clock on the wall: a run that begins before a clock change and ends after it would take an hour
    too long or too short. To migrations it is a plain DateTimeField.
    """

    def from_db_value(self, value: datetime | None, expression: Any, connection: Any) -> datetime | None:
        return None if value is None else utc(value)

    def deconstruct(self) -> tuple[str, str, Sequence[Any], dict[str, Any]]:
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.DateTimeField", args, kwargs
