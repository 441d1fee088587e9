"""The Django project around stock beat: django-celery-beat and nothing else, so that it carries nothing of ours."""

from __future__ import annotations

import os
import secrets

import dj_database_url

SECRET_KEY = secrets.token_urlsafe(48)
INSTALLED_APPS = ["django_celery_beat"]
DATABASES = {"default": dj_database_url.parse(os.environ["BENCH_DATABASE_URL"], conn_max_age=None)}
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = True
TIME_ZONE = "UTC"
CELERY_TIMEZONE = "UTC"
CELERY_TASK_IGNORE_RESULT = True
