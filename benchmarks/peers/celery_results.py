"""Celery with django-celery-results, as that package's page says."""

from __future__ import annotations

import os

from celery import Celery

from benchmarks.noop import noop

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.peers.celery_results_settings")

app = Celery("results", broker=os.environ["BENCH_BROKER_URL"])
app.config_from_object("django.conf:settings", namespace="CELERY")
if os.environ.get("BENCH_KEEP_CONNECTIONS"):
    # Read by Celery's Django integration under this very name, without the namespace taken off.
    app.conf["CELERY_DB_REUSE_MAX"] = 1_000_000_000
app.task(name="noop")(noop)
