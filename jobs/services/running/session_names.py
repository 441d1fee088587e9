"""The name under which PostgreSQL lists the connections of a worker."""

from __future__ import annotations

from django.db import connection

from jobs.conf import WORKER_SESSION_SUFFIX


def name_sessions_of_worker() -> None:
    """In a worker's main process: give its connections, and those of its slots and runs, a name of their own.

    Their `application_name` is that of the project, `jobsched` where it has none, and the word `worker`.
    """
    options = connection.settings_dict.setdefault("OPTIONS", {})
    name = options.get("application_name") or "jobsched"
    if not name.endswith(WORKER_SESSION_SUFFIX):
        options["application_name"] = name + WORKER_SESSION_SUFFIX
