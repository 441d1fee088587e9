"""The list of runs, made for tables of millions: no counting, no offsets, no reading of distinct values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest

from jobs.conf import conf
from jobs.models import Job, Project, Run

JOBS_OFFERED = 50
"""More jobs than this make no filter to choose from; the search box takes their names."""


class NewestFirst(ChangeList):
    """A page of runs by falling id. The page after it starts below its last id, so that any page is as quick."""

    older_than: str | None = None
    """The query that shows the page after this one, or None on the last."""

    def get_results(self, request: HttpRequest) -> None:
        rows = list(self.queryset[: self.list_per_page + 1])
        page = rows[: self.list_per_page]
        if len(rows) > len(page):
            self.older_than = self.get_query_string({"id__lt": str(page[-1].pk)})
        self.result_list = page
        self.result_count = len(page)
        self.full_result_count = len(page)
        self.show_full_result_count = False
        self.show_admin_actions = bool(page)
        self.can_show_all = False
        self.multi_page = False
        self.paginator = Paginator(page, self.list_per_page)

    @property
    def whole(self) -> str:
        """The query of all pages."""
        return self.get_query_string(remove=["id__lt"])

    @property
    def from_the_newest(self) -> str | None:
        """The query that goes back to the first page, or None when this is it."""
        return self.get_query_string(remove=["id__lt"]) if "id__lt" in self.params else None


class QueueFilter(admin.SimpleListFilter):
    """Queues as the settings name them: reading them from the runs would read every run."""

    title = "queue"
    parameter_name = "queue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        names = dict.fromkeys((*conf().queues, *filter(None, [self.value()])))
        return [(name, name) for name in names]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(queue=self.value()) if self.value() else queryset


class ProjectFilter(admin.SimpleListFilter):
    """The project of a run's job, by its name."""

    path = "job__project__name"
    title = "project"
    parameter_name = "project"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(name, name) for name in Project.objects.values_list("name", flat=True)[:JOBS_OFFERED]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(**{self.path: self.value()}) if self.value() else queryset


class JobFilter(admin.SimpleListFilter):
    """The job by its id. Offers the current jobs while they are few, and always the one that is chosen."""

    title = "job"
    parameter_name = "job"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        few = list(Job.objects.current().order_by("name").values_list("pk", "name")[: JOBS_OFFERED + 1])
        offered = dict(few if len(few) <= JOBS_OFFERED else [])
        if (chosen := self._chosen()) and chosen not in offered:
            offered |= dict(Job.objects.filter(pk=chosen).values_list("pk", "name"))
        return [(str(pk), name) for pk, name in offered.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        return queryset.filter(job_id=self._chosen() or 0) if self.value() else queryset

    def _chosen(self) -> int | None:
        value = self.value() or ""
        return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else None
