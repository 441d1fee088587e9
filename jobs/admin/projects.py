"""Projects."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest

from jobs.models import Project


@admin.register(Project)
class ProjectAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # takes none at run time
    """A project is a name that jobs are kept under. One that owns jobs, archived ones too, cannot be deleted."""

    list_display = ("name", "current_jobs", "created_at")
    search_fields = ("name",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Project]:
        projects: QuerySet[Project] = super().get_queryset(request)
        return projects.annotate(number=Count("jobs", filter=Q(jobs__archived_at=None)))

    @admin.display(description="jobs")
    def current_jobs(self, project: Project) -> int:
        return int(getattr(project, "number", 0))
