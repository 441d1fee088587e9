"""Record how many messages a worker rejected, for `doctor` to report."""

from __future__ import annotations

from django.db import connection

from jobs.rejections import Counts
from jobs.store import rejected
from jobs.store.session import django_connection


def record(counts: Counts) -> None:
    """Add to the counts. The connection is closed afterwards: the next report is a minute away, or never comes.

    Raises DatabaseError when the database cannot be reached.
    """
    try:
        rejected.add(django_connection, counts)
    finally:
        connection.close()
