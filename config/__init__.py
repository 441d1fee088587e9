"""Wiring only: settings, the Celery app, URLs and the WSGI entry point."""

from jobsched.shim import libc

# Before anything else: every process of ours has secrets in its environment or memory, and /proc shows both to other
# processes of the same user.
libc.set_dumpable(False)

# ruff: noqa: E402 - for that reason
from config.celery import app as celery_app

__all__ = ["celery_app"]
