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
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from jobs.admin.badges import NOTHING
from jobs.admin.differences import as_text
from jobs.admin.task_form import TaskForm, shown_policies
from jobs.models import Job, Schedule
from jobs.rules import crontab_in_words, in_words

admin.site.unregister(PeriodicTask)

POLICIES = (
    "Missed, spread and excluded",
    {
        "fields": (
            ("catch_up", "catch_up_window", "catch_up_limit"),
            "jitter",
            "exclude",
            "blackout",
            "exclusions_zone",
        ),
    },
)
"""What our row beside a plain task says of it. That of a job is edited with the job."""
POLICIES_READ = (POLICIES[0], {"fields": ("policies",)})
OF_OURS = ((None, {"fields": ("name", "enabled", "timing", "start_time", "expires", "one_off")}),)


@admin.register(PeriodicTask)
class PeriodicTaskAdmin(TheirAdmin):  # type: ignore[misc]  # it has no types
    """Plain Celery tasks are edited here as ever. The schedule of a job names its job."""

    form = TaskForm
    list_display = tuple("timing" if name == "scheduler" else name for name in (*TheirAdmin.list_display, "job"))
    readonly_fields = (*TheirAdmin.readonly_fields, "job", "timing", "policies")

    class Media:
        css = {"all": ("jobs/admin.css",)}

    def get_queryset(self, request: HttpRequest) -> QuerySet[PeriodicTask]:
        tasks: QuerySet[PeriodicTask] = super().get_queryset(request)
        return tasks.select_related("jobs_schedule__job")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Their form insists on one of their four kinds; a schedule of another kind is its job's alone.
        return not _is_ours_alone(obj) and bool(super().has_change_permission(request, obj))

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        if _job_of(obj) is None:
            may_change = self.has_change_permission(request, obj) if obj else self.has_add_permission(request)
            return (*TheirAdmin.fieldsets, POLICIES if may_change else POLICIES_READ)
        theirs = OF_OURS if _is_ours_alone(obj) else TheirAdmin.fieldsets
        return (("Job", {"fields": ("job",)}), *theirs)

    def save_model(self, request: HttpRequest, obj: PeriodicTask, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if _job_of(obj) is None:
            form.save_policies()

    def changeform_view(
        self, request: HttpRequest, object_id: Any = None, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        response: HttpResponse = super().changeform_view(request, object_id, form_url, extra_context)
        context = getattr(response, "context_data", None)
        if context and "readable_crontabs" in context:
            # The page shows these beside the choice of a crontab, by a script.
            context["readable_crontabs"] = {row.pk: crontab_in_words(row) for row in CrontabSchedule.objects.all()}
        return response

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        response: HttpResponse = super().changelist_view(request, extra_context)
        if hasattr(response, "context_data") and response.context_data:
            # Their warning is about schedulers that do not read these rows; ours does.
            response.context_data["wrong_scheduler"] = False
        return response

    def crontab_translation(self, task: PeriodicTask) -> str:
        # Theirs fails on a task that has none, and says something false of some.
        return crontab_in_words(task.crontab) if task.crontab else NOTHING

    @admin.display(description="schedule")
    def timing(self, task: PeriodicTask) -> str:
        """Theirs in their words, ours in ours."""
        return in_words(_row_of(task)) if _is_ours_alone(task) else str(task.scheduler or NOTHING)

    @admin.display(description="policies")
    def policies(self, task: PeriodicTask) -> SafeString | str:
        row = _row_of(task)
        said = {key: value for key, value in shown_policies(row).items() if value} if row else {}
        return format_html('<pre class="js-output">{}</pre>', as_text(said, sort=False)) if said else NOTHING

    @admin.display(description="job")
    def job(self, task: PeriodicTask) -> SafeString | str:
        job = _job_of(task)
        if job is None:
            return NOTHING
        link = format_html('<a href="{}">{}</a>', reverse("admin:jobs_job_change", args=[job.pk]), job.name)
        return format_html("This schedule belongs to the job {}; change it there.", link)


def _row_of(task: PeriodicTask | None) -> Schedule | None:
    return getattr(task, "jobs_schedule", None)


def _job_of(task: PeriodicTask | None) -> Job | None:
    row = _row_of(task)
    return None if row is None else row.job


def _is_ours_alone(task: PeriodicTask | None) -> bool:
    """Tell whether a schedule is of a kind that django-celery-beat has no row for."""
    row = _row_of(task)
    return row is not None and row.timetable is not None
