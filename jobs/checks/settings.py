"""Settings of Django and Celery that would keep jobs from running, or a promise from being kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery import current_app
from django.apps import AppConfig, apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Warning

from jobs.celery_settings import problems


def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Look at settings that would keep jobs from running, or a promise from being kept."""
    found: list[CheckMessage] = []
    if not apps.is_installed("django_celery_beat"):
        found.append(
            Error(
                "django_celery_beat is not in INSTALLED_APPS: its rows are the schedules.",
                hint="Add 'django_celery_beat' before 'jobs'.",
                id="jobs.E001",
            )
        )
    if "pool" in settings.DATABASES["default"].get("OPTIONS", {}):
        found.append(
            Error(
                "DATABASES['default']['OPTIONS']['pool'] is set: the slots of a worker are forks, and cannot share it.",
                hint="Take it out.",
                id="jobs.E002",
            )
        )
    conf = current_app.conf
    found += [Error(problem.sentence, id=problem.id) for problem in problems(current_app)]
    if conf.worker_pool not in ("prefork", "processes"):
        found.append(
            Warning(
                "Workers that serve jobs need CELERY_WORKER_POOL = 'prefork': their slots are processes.",
                hint="Leave it at its default.",
                id="jobs.W001",
            )
        )
    if "jobs.beat" not in str(conf.beat_scheduler):
        found.append(
            Info(
                f"CELERY_BEAT_SCHEDULER is {conf.beat_scheduler}: a beat without `-S jobs.beat:JobScheduler` fires no "
                "jobs.",
                hint="Set it to 'jobs.beat:JobScheduler'.",
                id="jobs.I001",
            )
        )
    return found
