"""Celery as its first steps show it, with results ignored."""

from __future__ import annotations

import os

from celery import Celery

from benchmarks.noop import noop

app = Celery("plain", broker=os.environ["BENCH_BROKER_URL"])
app.conf.task_ignore_result = True
app.task(name="noop")(noop)
