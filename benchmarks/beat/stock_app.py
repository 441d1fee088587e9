"""Celery as most people run it, for `celery beat` with django-celery-beat's own scheduler."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.beat.stock_settings")

app = Celery("stock", broker=os.environ["BENCH_BROKER_URL"])
app.config_from_object("django.conf:settings", namespace="CELERY")
