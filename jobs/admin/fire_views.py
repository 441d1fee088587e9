"""The pages about fires: what became of those of a job, those to come of all jobs, and runs for those of the past."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from jobs.admin import backfilling, job_fires, upcoming
from jobs.models import Job, Run
from jobs.rules import job_in_words, with_deletion
from jobs.services.backfill import Filled


class FireViews(admin.ModelAdmin):  # type: ignore[type-arg]  # takes none at run time
    """The part of the admin of jobs that looks along their schedules."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("upcoming/", view(self.upcoming_view), name="jobs_upcoming"),
            path("<int:job_id>/fires/", view(self.fires_view), name="jobs_job_fires"),
            path("<int:job_id>/backfill/", view(self.backfill_view), name="jobs_job_backfill"),
            *super().get_urls(),
        ]

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Run now, backfill, pause and resume."""
        return request.user.has_perm("jobs.change_job")

    def fires_view(self, request: HttpRequest, job_id: int) -> HttpResponse:
        """Tell what became of every instant of a period. Reads only."""
        job = get_object_or_404(Job.objects.select_related("project"), pk=job_id)
        if not self.has_view_permission(request, job):
            raise PermissionDenied
        runs = self.admin_site.get_model_admin(Run)
        shown = job_fires.page(job, request.GET, with_runs=runs.has_view_permission(request))
        shown["scheduled"] = getattr(job, "schedule", None) is not None
        return self.page(request, "fires", title=f"Fires of {job.name}: expected and actual", job=job, **shown)

    def upcoming_view(self, request: HttpRequest) -> HttpResponse:
        """List the next fires of all jobs. Reads only."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return self.page(request, "upcoming", title="Upcoming fires", **upcoming.page(request.GET))

    def backfill_view(self, request: HttpRequest, job_id: int) -> HttpResponse:
        """Ask for a period, show what a backfill would do, and do it once that was confirmed (POST)."""
        if not self.has_operate_permission(request):
            raise PermissionDenied
        job = get_object_or_404(with_deletion(Job.objects.current().select_related("project")), pk=job_id)
        form = backfilling.BackfillForm(request.POST if request.method == "POST" else None)
        filled = None
        if request.method == "POST" and "again" not in request.POST and form.is_valid():
            confirmed = "confirmed" in request.POST
            filled = form.fill(job, actor=request.user.get_username(), dry_run=not confirmed)
            if confirmed and filled:
                return self._backfilled(request, job, filled)
        return self.page(
            request,
            "backfill",
            title=f"Backfill {job.name}",
            job=job,
            form=form,
            filled=filled,
            passed_over=backfilling.summary(filled) if filled else "",
            words=job_in_words(job),
        )

    def _backfilled(self, request: HttpRequest, job: Job, filled: Filled) -> HttpResponse:
        told = backfilling.summary(filled)
        self.log_change(request, job, f"Backfilled {filled.made} runs")
        self.message_user(
            request,
            f"{filled.made} run{'' if filled.made == 1 else 's'} of {job.name} for past instants "
            f"{'was' if filled.made == 1 else 'were'} made{f'; {told}' if told else ''}.",
            messages.SUCCESS if filled.made else messages.WARNING,
        )
        runs = reverse("admin:jobs_run_changelist")
        return HttpResponseRedirect(f"{runs}?job={job.pk}&trigger__exact={Run.Trigger.BACKFILL}")

    def page(self, request: HttpRequest, name: str, **shown: Any) -> HttpResponse:
        """Show a template of jobs with what every page of the admin needs."""
        context = {**self.admin_site.each_context(request), "opts": self.opts, "media": self.media, **shown}
        return TemplateResponse(request, f"admin/jobs/job/{name}.html", context)
