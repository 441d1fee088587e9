"""django-celery-beat's own page for schedules, which also says when a schedule is that of a job."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django_celery_beat.admin import PeriodicTaskAdmin as TheirAdmin
from django_celery_beat.models import PeriodicTask

from jobs.admin.badges import NOTHING
from jobs.models import Job

admin.site.unregister(PeriodicTask)


@admin.register(PeriodicTask)
class PeriodicTaskAdmin(TheirAdmin):  # type: ignore[misc]  # it has no types
    """Plain Celery tasks are edited here as ever. The schedule of a job names its job."""

    list_display = (*TheirAdmin.list_display, "job")
    readonly_fields = (*TheirAdmin.readonly_fields, "job")
    fieldsets = (("Job", {"fields": ("job",)}), *TheirAdmin.fieldsets)

    def get_queryset(self, request: HttpRequest) -> QuerySet[PeriodicTask]:
        tasks: QuerySet[PeriodicTask] = super().get_queryset(request)
        return tasks.select_related("schedule__job")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        shown = super().get_fieldsets(request, obj)
        return shown if _job_of(obj) else shown[1:]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        # Their sentence about a crontab fails on a task that has none.
        readonly = super().get_readonly_fields(request, obj)
        return readonly if obj is None or obj.crontab else [name for name in readonly if name != "crontab_translation"]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        response: HttpResponse = super().changelist_view(request, extra_context)
        if hasattr(response, "context_data") and response.context_data:
            # Their warning is about schedulers that do not read these rows; ours does.
            response.context_data["wrong_scheduler"] = False
        return response

    @admin.display(description="job")
    def job(self, task: PeriodicTask) -> SafeString | str:
        job = _job_of(task)
        if job is None:
            return NOTHING
        link = format_html('<a href="{}">{}</a>', reverse("admin:jobs_job_change", args=[job.pk]), job.name)
        return format_html("This schedule belongs to the job {}; change it there.", link)


def _job_of(task: PeriodicTask | None) -> Job | None:
    schedule = getattr(task, "schedule", None)
    return None if schedule is None else schedule.job
