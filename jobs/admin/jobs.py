"""Jobs: the list, the form with its schedule, and the verbs run now, pause and resume."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from jobs.admin import job_page, preview
from jobs.admin.badges import NOTHING, kind_badge, moment, state_badge
from jobs.admin.fire_views import FireViews
from jobs.admin.job_form import JobForm
from jobs.admin.job_list import ArchivedFilter, OwnProjectFilter
from jobs.admin.run_list import QueueFilter
from jobs.admin.run_now import RunNowForm, request_runs
from jobs.models import Job, Run
from jobs.rules import job_in_words, last_deletion, with_deletion
from jobs.services import control, definitions
from jobsched.domain.errors import InvalidInput, JobschedError


@admin.register(Job)
class JobAdmin(FireViews):
    """A job and its schedule are one form. Saving, deleting and the verbs are services; here they are named."""

    list_display = ("name_shown", "kind_shown", "words", "next_fire", "last_run", "queue", "priority")
    list_display_links = None
    list_filter = (OwnProjectFilter, "kind", QueueFilter, "paused", ArchivedFilter)
    list_select_related = (
        "project",
        "schedule__periodic_task__crontab",
        "schedule__periodic_task__interval",
        "schedule__periodic_task__clocked",
        "schedule__periodic_task__solar",
    )
    list_per_page = 50
    search_fields = ("name", "description")
    show_facets = admin.ShowFacets.NEVER
    ordering = ("project__name", "name")
    actions = ("run_jobs", "pause_jobs", "resume_jobs")
    add_form_template = change_form_template = "admin/jobs/job/form.html"
    delete_confirmation_template = "admin/jobs/job/archive.html"
    delete_selected_confirmation_template = "admin/jobs/job/archive_selected.html"

    class Media:
        css = {"all": ("jobs/admin.css",)}

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("preview/", view(self.preview_view), name="jobs_job_preview"),
            path("run/", view(self.run_view), name="jobs_job_run"),
            path("<int:job_id>/pause/", view(self.pause_view), name="jobs_job_pause"),
            path("<int:job_id>/resume/", view(self.resume_view), name="jobs_job_resume"),
            path("<int:job_id>/definitions/", view(self.definitions_view), name="jobs_job_definitions"),
            *super().get_urls(),
        ]

    # Who may do what.

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return (obj is None or obj.archived_at is None) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return (obj is None or obj.archived_at is None) and super().has_delete_permission(request, obj)

    # The list.

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        jobs: QuerySet[Job] = super().get_queryset(request)
        last = Run.objects.filter(job=OuterRef("pk")).order_by("-id")
        return with_deletion(jobs).annotate(
            last_run_id=Subquery(last.values("pk")[:1]), last_run_state=Subquery(last.values("state")[:1])
        )

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        asked = request.method == "POST" and request.POST.get("action")
        needed = self.has_delete_permission if asked == "delete_selected" else self.has_operate_permission
        if asked and not needed(request):
            raise PermissionDenied
        return super().changelist_view(request, {"title": "Jobs", **(extra_context or {})})

    @admin.display(description="name", ordering="name")
    def name_shown(self, job: Job) -> SafeString:
        return format_html(
            '<a href="{}">{}</a> {}<div class="quiet">{}</div>',
            reverse("admin:jobs_job_change", args=[job.pk]),
            job.name,
            format_html('<span class="js-badge js-paused">{}</span>', "paused") if job.paused else "",
            job.project.name,
        )

    @admin.display(description="kind", ordering="kind")
    def kind_shown(self, job: Job) -> SafeString:
        return kind_badge(job.kind)

    @admin.display(description="schedule")
    def words(self, job: Job) -> str:
        return job_in_words(job)

    @admin.display(description="next fire", ordering="schedule__next_fire_at")
    def next_fire(self, job: Job) -> SafeString | str:
        schedule = getattr(job, "schedule", None)
        if schedule is None:
            return NOTHING
        if schedule.stale:
            return format_html('<span title="{}">soon known</span>', "beat works it out with its next tick")
        return schedule.held or moment(schedule.fires_next_at)

    @admin.display(description="last run")
    def last_run(self, job: Job) -> SafeString | str:
        run_id, state = getattr(job, "last_run_id", None), getattr(job, "last_run_state", None)
        if run_id is None or state is None:
            return NOTHING
        return format_html('<a href="{}">{}</a>', reverse("admin:jobs_run_change", args=[run_id]), state_badge(state))

    # The form.

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        if not (self.has_change_permission(request, obj) if obj else self.has_add_permission(request)):
            return super().get_form(request, obj, change, **kwargs)
        refusal: InvalidInput | None = getattr(request, "refusal", None)

        class Form(JobForm):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs, refusal=refusal)

        return Form

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is not None and not self.has_change_permission(request, obj):
            return job_page.READ_ONLY
        return job_page.FIELDSETS

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show or save the form. What the service refuses on saving comes back beside its field."""
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except InvalidInput as error:
            request.refusal = error  # type: ignore[attr-defined]
            return super().changeform_view(request, object_id, form_url, extra_context)

    def render_change_form(
        self,
        request: HttpRequest,
        context: Any,
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        form = context["adminform"].form
        context["editable"] = isinstance(form, JobForm)
        context["preview"] = (
            preview.of_form(form) if isinstance(form, JobForm) and form.is_bound else preview.of_job(obj)
        )
        context["manifest"] = job_page.manifest_text(obj) if obj else ""
        context["may_operate"] = obj is not None and self.has_operate_permission(request) and obj.archived_at is None
        context["scheduled"] = obj is not None and getattr(obj, "schedule", None) is not None
        context["held"] = obj is not None and (obj.paused or control.switched_off_schedules(obj).exists())
        context["deletion"] = last_deletion(obj) if obj is not None and not context["scheduled"] else None
        context["subtitle"] = None
        if obj:
            context["title"] = f"{obj.name}"
        return super().render_change_form(request, context, add, change, form_url, obj)

    def save_model(self, request: HttpRequest, obj: Job, form: Any, change: bool) -> None:
        definitions.save(
            form.spec,
            project=form.cleaned_data["project"].name,
            actor=request.user.get_username(),
            must_be_new=not change,
        )
        saved = control.find(form.spec.name, project=form.cleaned_data["project"].name)
        obj.pk = saved.pk
        obj.refresh_from_db()

    @admin.display(description="Kind")
    def kind_read(self, job: Job) -> SafeString:
        return kind_badge(job.kind)

    def preview_view(self, request: HttpRequest) -> HttpResponse:
        """Answer with the schedule in words and its next instants. Reads a form, changes nothing."""
        if not (self.has_add_permission(request) or self.has_change_permission(request)):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        return preview.answer(request.POST)

    # Deleting.

    def get_deleted_objects(
        self, objs: Iterable[Any], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """What goes is the jobs themselves. Runs and definitions stay, so that they stand in nobody's way."""
        chosen = list(objs)
        return [str(job) for job in chosen], {"jobs": len(chosen)}, set(), []

    def delete_model(self, request: HttpRequest, obj: Job) -> None:
        definitions.remove(obj, actor=request.user.get_username())

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        for job in queryset.filter(archived_at=None).select_related("project"):
            definitions.remove(job, actor=request.user.get_username())

    # The verbs.

    def run_view(self, request: HttpRequest) -> HttpResponse:
        """Ask for parameters and a priority (GET), and request a run of each chosen job (POST)."""
        if not self.has_operate_permission(request):
            raise PermissionDenied
        ids = [
            int(value)
            for value in request.GET.getlist("id")[:100]
            if value.isascii() and value.isdigit() and len(value) < 19
        ]
        chosen = list(Job.objects.current().filter(pk__in=ids).select_related("project"))
        if not chosen:
            self.message_user(request, "There is no such job to run; it may have been deleted.", messages.WARNING)
            return HttpResponseRedirect(reverse("admin:jobs_job_changelist"))
        form = RunNowForm(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            try:
                made = request_runs(chosen, form, actor=request.user.get_username())
            except JobschedError as error:
                form.add_error(None, str(error))
            else:
                return self._requested(request, chosen, made)
        return self.page(
            request,
            "run_now",
            title=f"Run {chosen[0].name} now" if len(chosen) == 1 else f"Run {len(chosen)} jobs now",
            chosen=chosen,
            defaults=job_page.params_text(chosen[0]) if len(chosen) == 1 else "",
            form=form,
        )

    def _requested(self, request: HttpRequest, chosen: list[Job], made: list[Run]) -> HttpResponse:
        if len(made) == 1:
            self.message_user(request, f"Run #{made[0].pk} of {chosen[0].name} was requested.")
            return HttpResponseRedirect(reverse("admin:jobs_run_change", args=[made[0].pk]))
        self.message_user(request, f"{len(made)} runs were requested, one of each chosen job.")
        return HttpResponseRedirect(reverse("admin:jobs_run_changelist"))

    def pause_view(self, request: HttpRequest, job_id: int) -> HttpResponse:
        """Pause one job. Only POST."""
        return self._switch(request, job_id, pause=True)

    def resume_view(self, request: HttpRequest, job_id: int) -> HttpResponse:
        """Resume one job. Only POST."""
        return self._switch(request, job_id, pause=False)

    def _switch(self, request: HttpRequest, job_id: int, *, pause: bool) -> HttpResponse:
        if not self.has_operate_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        self._switch_all(request, [get_object_or_404(Job.objects.current(), pk=job_id)], pause=pause)
        return HttpResponseRedirect(reverse("admin:jobs_job_change", args=[job_id]))

    def _switch_all(self, request: HttpRequest, chosen: Iterable[Job], *, pause: bool) -> None:
        verb, done, effect = (
            (control.pause, "paused", "the schedule does not fire until it is resumed")
            if pause
            else (control.resume, "resumed", "the schedule fires again")
        )
        changed = [job for job in chosen if verb(job)]
        for job in changed:
            self.log_change(request, job, done.capitalize())
        if not changed:
            self.message_user(request, f"Nothing to do: that was {done} already.", messages.WARNING)
        elif len(changed) == 1:
            self.message_user(request, f"{changed[0].name} was {done}; {effect}.")
        else:
            self.message_user(request, f"{len(changed)} jobs were {done}; {effect}.")

    @admin.action(description="Run selected jobs now…", permissions=["operate"])
    def run_jobs(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse:
        ids = "&".join(f"id={pk}" for pk in queryset.values_list("pk", flat=True)[:100])
        return HttpResponseRedirect(f"{reverse('admin:jobs_job_run')}?{ids}")

    @admin.action(description="Pause selected jobs", permissions=["operate"])
    def pause_jobs(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        self._switch_all(request, queryset.filter(archived_at=None), pause=True)

    @admin.action(description="Resume selected jobs", permissions=["operate"])
    def resume_jobs(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        self._switch_all(request, queryset.filter(archived_at=None), pause=False)

    # Former definitions.

    def definitions_view(self, request: HttpRequest, job_id: int) -> HttpResponse:
        """List a job's definitions, each with what it changed. Reads only."""
        job = get_object_or_404(Job.objects.select_related("project"), pk=job_id)
        if not self.has_view_permission(request, job):
            raise PermissionDenied
        shown = job_page.versions(job, before=request.GET.get("before", ""))
        return self.page(request, "definitions", title=f"Definitions of {job.name}", job=job, **shown)
