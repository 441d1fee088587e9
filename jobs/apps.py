"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig


class JobsConfig(AppConfig):
    """Jobs and runs."""

    name = "jobs"
    verbose_name = "Jobs"
