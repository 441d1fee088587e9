"""Addresses below /api/v1/. Each is understood with and without a slash at its end."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, re_path

from jobs.api import views_applies as applies
from jobs.api import views_doctor as doctor
from jobs.api import views_jobs as jobs
from jobs.api import views_queues as queues
from jobs.api import views_runs as runs
from jobs.api import views_schedules as schedules
from jobs.api.views_nowhere import Nowhere

JOB = r"jobs/(?P<name>[^/]+)"
RUN = r"runs/(?P<run_id>[0-9]{1,18})"

urlpatterns: list[URLPattern | URLResolver] = [
    re_path(r"^apply/?\Z", applies.Apply.as_view(), name="api-apply"),
    re_path(r"^applies/(?P<id>[0-9]{1,18})/?\Z", applies.ApplyState.as_view(), name="api-apply-state"),
    re_path(r"^schema/?\Z", jobs.Schema.as_view(), name="api-schema"),
    re_path(r"^jobs/?\Z", jobs.Jobs.as_view(), name="api-jobs"),
    re_path(rf"^{JOB}/?\Z", jobs.OneJob.as_view(), name="api-job"),
    re_path(rf"^{JOB}/trigger/?\Z", jobs.Trigger.as_view(), name="api-job-trigger"),
    re_path(rf"^{JOB}/pause/?\Z", jobs.Pause.as_view(), name="api-job-pause"),
    re_path(rf"^{JOB}/resume/?\Z", jobs.Resume.as_view(), name="api-job-resume"),
    re_path(rf"^{JOB}/next/?\Z", schedules.Next.as_view(), name="api-job-next"),
    re_path(rf"^{JOB}/fires/?\Z", schedules.Fires.as_view(), name="api-job-fires"),
    re_path(rf"^{JOB}/backfill/?\Z", schedules.Backfill.as_view(), name="api-job-backfill"),
    re_path(r"^preview/?\Z", schedules.Preview.as_view(), name="api-preview"),
    re_path(r"^upcoming/?\Z", schedules.Upcoming.as_view(), name="api-upcoming"),
    re_path(r"^doctor/?\Z", doctor.Doctor.as_view(), name="api-doctor"),
    re_path(r"^queues/?\Z", queues.Queues.as_view(), name="api-queues"),
    re_path(r"^queues/(?P<name>[^/]+)/?\Z", queues.OneQueue.as_view(), name="api-queue"),
    re_path(r"^runs/?\Z", runs.Runs.as_view(), name="api-runs"),
    re_path(r"^runs/cancel/?\Z", runs.CancelMany.as_view(), name="api-runs-cancel"),
    re_path(r"^runs/retry/?\Z", runs.RetryMany.as_view(), name="api-runs-retry"),
    re_path(rf"^{RUN}/?\Z", runs.OneRun.as_view(), name="api-run"),
    re_path(rf"^{RUN}/output/?\Z", runs.Output.as_view(), name="api-run-output"),
    re_path(rf"^{RUN}/cancel/?\Z", runs.Cancel.as_view(), name="api-run-cancel"),
    re_path(rf"^{RUN}/retry/?\Z", runs.Retry.as_view(), name="api-run-retry"),
    re_path(r"", Nowhere.as_view(), name="api-nowhere"),
]
