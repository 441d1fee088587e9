"""The Celery application. Everything it needs stands in Django's settings under CELERY_."""

from __future__ import annotations

import os

from celery import Celery

from config.dropping import drop_unless_worker

drop_unless_worker()
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
# Django's checks load every page of the admin and the API. `manage.py migrate` makes them, and nothing runs before it.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")

app = Celery("jobsched")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
