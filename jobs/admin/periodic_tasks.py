"""django-celery-beat's own page for schedules, which also says when a schedule is that of a job."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html, format_html_join
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
NAMED_JOBS = 5
"""Jobs that a message names; of more, how many."""
POLICIES_READ = (POLICIES[0], {"fields": ("policies",)})
OF_A_JOB = (
    ("Job", {"fields": ("job",)}),
    (None, {"fields": ("name", "enabled", "timing", "start_time", "expires", "last_run_at", "one_off")}),
)
"""What is shown of the schedule of a job. The rest of its row has no meaning: no message is sent for it."""


@admin.register(PeriodicTask)
class PeriodicTaskAdmin(TheirAdmin):  # type: ignore[misc]  # it has no types
    """Plain Celery tasks are edited here as ever. The schedule of a job is read only, and leads to its job."""

    form = TaskForm
    list_display = tuple("timing" if name == "scheduler" else name for name in (*TheirAdmin.list_display, "job"))
    readonly_fields = (*TheirAdmin.readonly_fields, "job", "timing", "policies")

    class Media:
        css = {"all": ("jobs/admin.css",)}

    def get_queryset(self, request: HttpRequest) -> QuerySet[PeriodicTask]:
        tasks: QuerySet[PeriodicTask] = super().get_queryset(request)
        return tasks.select_related("jobs_schedule__job")

    # The schedule of a job is part of the job: what is done to it here would quietly make the job run on request only,
    # or send a message that no task answers to. So no user may change, delete or run it here.

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _job_of(obj) is None and bool(super().has_change_permission(request, obj))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _job_of(obj) is None and bool(super().has_delete_permission(request, obj))

    def response_action(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> HttpResponse | None:
        """Do an action to the chosen plain tasks, and leave out the schedules of jobs."""
        every = request.POST.get("select_across") == "1"
        chosen = queryset if every else queryset.filter(pk__in=_numbers(request.POST.getlist(ACTION_CHECKBOX_NAME)))
        of_jobs = chosen.filter(jobs_schedule__job__isnull=False)
        if request.POST.get("action") and (count := of_jobs.count()):
            self.message_user(request, _left_out(request, of_jobs, count), messages.WARNING)
            if count == chosen.count():
                return HttpResponseRedirect(request.get_full_path())
        response: HttpResponse | None = super().response_action(request, queryset.exclude(pk__in=of_jobs.values("pk")))
        return response

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        if _job_of(obj) is not None:
            return OF_A_JOB
        may_change = self.has_change_permission(request, obj) if obj else self.has_add_permission(request)
        return (*TheirAdmin.fieldsets, POLICIES if may_change else POLICIES_READ)

    def save_model(self, request: HttpRequest, obj: PeriodicTask, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
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
        # That of django-celery-beat fails on a task without a crontab, and is false for some.
        return crontab_in_words(task.crontab) if task.crontab else NOTHING

    @admin.display(description="schedule")
    def timing(self, task: PeriodicTask) -> str:
        """The schedule of a plain task in the words of django-celery-beat, that of a job in ours."""
        row = _row_of(task)
        return in_words(row) if row and row.job_id else str(task.scheduler or NOTHING)

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
        return format_html("This schedule belongs to the job {}; change it there.", _link(job))


def _link(job: Job) -> SafeString:
    return format_html('<a href="{}">{}</a>', reverse("admin:jobs_job_change", args=[job.pk]), job.name)


def _numbers(given: Iterable[str]) -> list[int]:
    return [int(value) for value in given if value.isascii() and value.isdigit() and len(value) < 19]


def _left_out(request: HttpRequest, of_jobs: QuerySet[PeriodicTask], count: int) -> SafeString:
    """Say which of the chosen rows were left out, with links to the first few of their jobs."""
    jobs = [job for task in of_jobs.select_related("jobs_schedule__job")[:NAMED_JOBS] if (job := _job_of(task))]
    names = format_html_join(", ", "{}", ((_link(job),) for job in jobs))
    more = f" and {count - len(jobs)} more" if count > len(jobs) else ""
    if count == 1:
        return format_html("Left out: the schedule of the job {}. Change it with its job.", names)
    return format_html("Left out: {} schedules of jobs ({}{}). Change them with their jobs.", count, names, more)


def _row_of(task: PeriodicTask | None) -> Schedule | None:
    return getattr(task, "jobs_schedule", None)


def _job_of(task: PeriodicTask | None) -> Job | None:
    row = _row_of(task)
    return None if row is None else row.job
