"""Runs: a list and a page each, to read. Two verbs, cancel and retry; nothing is edited by hand."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from jobs.admin import run_many, run_page
from jobs.admin.badges import NOTHING, duration, moment, state_badge
from jobs.admin.outputs import download
from jobs.admin.printable import printable
from jobs.admin.run_filters import (
    DeadEndFilter,
    ErrorFilter,
    ExitCodeFilter,
    ReasonFilter,
    SignalFilter,
    WorkerFilter,
)
from jobs.admin.run_list import JobFilter, NewestFirst, ProjectFilter, QueueFilter
from jobs.models import Job, Run
from jobs.services import control, reading
from jobsched.domain.attempts import attempts_in_short
from jobsched.domain.errors import JobschedError
from jobsched.domain.states import FINISHED, State

AT_ONCE = 1000
"""One action handles no more runs than this, so that a slip of the hand stays small."""


@admin.register(Run)
class RunAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # takes none at run time
    """Nobody adds, edits or deletes a run here, superusers included. `jobs.change_run` allows the verbs."""

    list_display = (
        "run",
        "job_link",
        "state_shown",
        "ended_with",
        "trigger_shown",
        "queue",
        "due",
        "took",
    )
    list_display_links = ("run",)
    list_filter = (
        DeadEndFilter,
        "state",
        ProjectFilter,
        JobFilter,
        "trigger",
        QueueFilter,
        ("created_at", admin.DateFieldListFilter),
        ReasonFilter,
        ExitCodeFilter,
        SignalFilter,
        ErrorFilter,
        WorkerFilter,
    )
    list_select_related = ("job__project",)
    list_per_page = 50
    ordering = ("-id",)
    sortable_by = ()
    search_fields = ("id",)
    search_help_text = "A run's number, or the beginning of a job's name."
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    actions = ("cancel_runs", "retry_runs")
    change_form_template = "admin/jobs/run/detail.html"

    class Media:
        css = {"all": ("jobs/admin.css",)}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("jobs.view_run") or self.has_operate_permission(request)

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("jobs.change_run")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("cancel/", view(self.cancel_all_view), name="jobs_run_cancel_all"),
            path("retry/", view(self.retry_all_view), name="jobs_run_retry_all"),
            path("<int:run_id>/cancel/", view(self.cancel_view), name="jobs_run_cancel"),
            path("<int:run_id>/retry/", view(self.retry_view), name="jobs_run_retry"),
            path("<int:run_id>/attempts/<int:number>/output.txt", view(self.output_view), name="jobs_run_output"),
            *super().get_urls(),
        ]

    # The list.

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[NewestFirst]:
        return NewestFirst

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if request.method == "POST" and not self.has_operate_permission(request):
            raise PermissionDenied
        context = {"title": "Runs", "may_operate": self.has_operate_permission(request), **(extra_context or {})}
        return super().changelist_view(request, context)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Run], search_term: str
    ) -> tuple[QuerySet[Run], bool]:
        """Look names up among the jobs first: their runs are indexed by job, not by a name's beginning."""
        term = search_term.strip()
        if not term:
            return queryset, False
        number = term.lstrip("#")
        if number.isascii() and number.isdigit() and len(number) < 19 and queryset.filter(pk=int(number)).exists():
            return queryset.filter(pk=int(number)), False
        return queryset.filter(job__in=Job.objects.filter(name__istartswith=term)), False

    @admin.display(description="run")
    def run(self, run: Run) -> str:
        return f"#{run.pk}"

    @admin.display(description="job")
    def job_link(self, run: Run) -> SafeString:
        return format_html(
            '<a href="{}">{}</a><div class="quiet">{}</div>',
            reverse("admin:jobs_job_change", args=[run.job_id]),
            run.job.name,
            run.job.project.name,
        )

    @admin.display(description="state")
    def state_shown(self, run: Run) -> SafeString:
        badge = state_badge(run.state, cancelling=run.cancel_requested_at is not None)
        return format_html("{}{}", badge, run_page.short(run.reason)) if run.reason else badge

    @admin.display(description="ended with")
    def ended_with(self, run: Run) -> SafeString | str:
        view = reading.view(run)
        ended = run_page.outcome(view) or NOTHING
        if view.warning:
            warning = format_html(
                '<span class="js-badge js-warning" title="{}">warning</span>', printable(view.warning)
            )
            ended = format_html("{} {}", ended, warning)
        if not run.attempt:
            return ended
        attempts = attempts_in_short(run.attempt, view.max_attempts, between=" of ")
        return format_html('{}<div class="quiet">attempt {}</div>', ended, attempts)

    @admin.display(description="trigger")
    def trigger_shown(self, run: Run) -> SafeString:
        by = run.requested_by or NOTHING
        return format_html('{}<div class="quiet">{}</div>', run.get_trigger_display(), by)

    @admin.display(description="due")
    def due(self, run: Run) -> SafeString | str:
        at = moment(run.scheduled_for or run.run_at)
        if not run.skipped_count or run.skipped_count == 1:
            return at
        return format_html('{}<div class="quiet">and {} more</div>', at, run.skipped_count - 1)

    @admin.display(description="took")
    def took(self, run: Run) -> str:
        if run.started_at is None:
            return NOTHING
        return duration((run.finished_at or timezone.now()) - run.started_at)

    # One run.

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if request.method != "GET":
            return HttpResponseNotAllowed(["GET"])
        found = self.get_object(request, unquote(object_id))
        if found is None:
            return super().change_view(request, object_id)
        if not self.has_view_permission(request, found):
            raise PermissionDenied
        may = self.has_operate_permission(request)
        return super().change_view(
            request,
            object_id,
            form_url,
            {
                "title": f"Run #{found.pk} of {found.job.name}",
                "subtitle": None,
                "page": run_page.read(found),
                "may_cancel": may and found.state not in FINISHED and found.cancel_requested_at is None,
                "may_retry": may and found.state in FINISHED,
                "definition_changed": found.definition_id != found.job.definition_id and not found.job.archived_at,
                **(extra_context or {}),
            },
        )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        return reading.with_view_fields(Run.objects.all())

    def output_view(self, request: HttpRequest, run_id: int, number: int) -> HttpResponseBase:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return download(run_id, number)

    # The verbs.

    def cancel_view(self, request: HttpRequest, run_id: int) -> HttpResponse:
        """Cancel one run. Only POST."""
        return self._one(request, run_id, self._cancel)

    def retry_view(self, request: HttpRequest, run_id: int) -> HttpResponse:
        """Run again what one run did. Only POST."""
        return self._one(request, run_id, self._retry)

    def _one(self, request: HttpRequest, run_id: int, verb: Any) -> HttpResponse:
        if not self.has_operate_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        shown = run_id
        try:
            shown = verb(request, run_id)
        except JobschedError as error:
            self.message_user(request, str(error), messages.ERROR)
        return HttpResponseRedirect(reverse("admin:jobs_run_change", args=[shown]))

    def _cancel(self, request: HttpRequest, run_id: int) -> int:
        control.cancel_one(run_id, actor=request.user.get_username())
        found = reading.run(run_id)
        self.message_user(
            request,
            f"Run #{run_id} was asked to end: {found.cancelling}."
            if found.cancelling
            else f"Run #{run_id} was cancelled before it began.",
        )
        return run_id

    def _retry(self, request: HttpRequest, run_id: int) -> int:
        definition = run_many.definition(request)
        again = control.retry(run_id, actor=request.user.get_username(), definition=definition)
        how = "" if definition == "then" else ", by the definition as it is now"
        self.message_user(request, f"Run #{again.pk} was requested: it does again what run #{run_id} did{how}.")
        return again.pk

    def cancel_all_view(self, request: HttpRequest) -> HttpResponse:
        """Count all runs of the list that can be cancelled, and with POST cancel them."""
        return self._all(request, run_many.cancelling)

    def retry_all_view(self, request: HttpRequest) -> HttpResponse:
        """Count all runs of the list that can be retried, and with POST retry them."""
        return self._all(request, run_many.retrying)

    def _all(self, request: HttpRequest, verb: run_many.Verb) -> HttpResponse:
        if not self.has_operate_permission(request):
            raise PermissionDenied
        context = {**self.admin_site.each_context(request), "opts": self.model._meta, "media": self.media}
        return run_many.page(self, request, verb, context)

    @admin.action(description="Cancel selected runs", permissions=["operate"])
    def cancel_runs(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        chosen = list(queryset.values_list("pk", flat=True)[:AT_ONCE])
        states = control.cancel(chosen, actor=request.user.get_username())
        asked = sum(state is State.RUNNING for state in states.values())
        self.message_user(
            request,
            f"Of {len(chosen)} selected, {len(states) - asked} were cancelled, {asked} running were asked to end, "
            f"and {len(chosen) - len(states)} had ended before.",
            messages.SUCCESS if states else messages.WARNING,
        )

    @admin.action(description="Retry selected runs", permissions=["operate"])
    def retry_runs(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        made, refused = 0, ""
        for run_id in queryset.values_list("pk", flat=True).order_by("pk")[:AT_ONCE]:
            try:
                control.retry(run_id, actor=request.user.get_username())
                made += 1
            except JobschedError as error:
                refused = str(error)
        self.message_user(
            request,
            f"{made} new run{'' if made == 1 else 's'} requested." + (f" Not all: {refused}" if refused else ""),
            messages.WARNING if refused else messages.SUCCESS,
        )
