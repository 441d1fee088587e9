"""The Django project around django-celery-results: no more than it needs."""

from __future__ import annotations

import os
import secrets

import dj_database_url

SECRET_KEY = secrets.token_urlsafe(48)
INSTALLED_APPS = ["django_celery_results"]
DATABASES = {
    "default": dj_database_url.parse(
        os.environ["BENCH_DATABASE_URL"],
        conn_max_age=None if os.environ.get("BENCH_KEEP_CONNECTIONS") else 0,
    )
}
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = True
CELERY_RESULT_BACKEND = "django-db"
