"""Remove what requests to apply files have left behind."""

from __future__ import annotations

from jobs.store import applies
from jobs.store.session import django_connection


def tidy() -> None:
    """Give up abandoned requests, and delete old ones and the staged jobs of those that have ended."""
    applies.tidy(django_connection)
