"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import Tags, register
from django.db.models.signals import pre_migrate
from django.utils.module_loading import autodiscover_modules

from jobs.callable_modules import project_modules
from jobs.conf import conf
from jobsched import callables, registry
from jobsched.shim import libc


class JobsConfig(AppConfig):
    """Jobs and runs."""

    name = "jobs"
    verbose_name = "Jobs"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Close this process to others, check the settings, add the kind that needs Celery, find callables for jobs."""
        libc.set_dumpable(False)  # the process has secrets in its memory, which /proc shows to processes of its user
        conf()
        callables.allow(project_modules)
        registry.register("celery", "jobs.celery_tasks:CeleryExecutor")
        autodiscover_modules("job_callables")
        # Not before all models are there, on which services stand.
        from jobs import checks

        register(checks.check_settings, "jobs")
        register(checks.check_output_storage, "jobs")
        register(checks.check_database, Tags.database)
        pre_migrate.connect(checks.refuse_encoding, sender=self)
