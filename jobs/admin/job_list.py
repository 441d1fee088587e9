"""What the list of jobs shows beside their own columns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest

from jobs.admin.run_list import ProjectFilter


class OwnProjectFilter(ProjectFilter):
    """The project of a job, by its name."""

    path = "project__name"


class ArchivedFilter(admin.SimpleListFilter):
    """Deleted jobs are kept for the sake of their runs, and out of sight unless asked for."""

    title = "deleted"
    parameter_name = "deleted"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [("yes", "Deleted jobs")]

    def choices(self, changelist: ChangeList) -> Any:
        shown = [
            {
                "selected": self.value() is None,
                "query_string": changelist.get_query_string(remove=["deleted"]),
                "display": "Current jobs",
            },
            {
                "selected": self.value() == "yes",
                "query_string": changelist.get_query_string({"deleted": "yes"}),
                "display": "Deleted jobs",
            },
        ]
        yield from shown

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(archived_at__isnull=self.value() != "yes")
