"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules

from jobsched import registry


class JobsConfig(AppConfig):
    """Jobs and runs."""

    name = "jobs"
    verbose_name = "Jobs"

    def ready(self) -> None:
        """Add the kind that needs Celery, and find the callables that installed apps register for jobs."""
        registry.register("celery", "jobs.celery_tasks:CeleryExecutor")
        autodiscover_modules("job_callables")
