"""What the pages of one job show beside its form."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jobs.admin.differences import Line, as_text, difference
from jobs.models import Definition, Job
from jobs.services import definitions

FIELDSETS = (
    (None, {"fields": (("project", "name"), "description", "paused")}),
    (
        "Schedule",
        {
            "fields": (
                "when",
                "cron",
                "every",
                "rrule",
                "at",
                "timezone",
                "run_once",
                ("start", "end"),
                ("catch_up", "catch_up_window", "catch_up_limit"),
                "jitter",
                "exclude",
                "blackout",
            ),
            "classes": ("js-schedule",),
        },
    ),
    ("What to do", {"fields": ("kind",), "classes": ("js-kinds",)}),
    ("Shell command", {"fields": ("run",), "classes": ("js-only", "js-for-shell")}),
    ("Steps", {"fields": ("steps",), "classes": ("js-only", "js-for-steps")}),
    (
        "HTTP request",
        {
            "fields": (
                "http_url",
                "http_method",
                "http_headers",
                "http_body",
                "http_json",
                ("http_expected_status", "http_timeout", "http_max_bytes"),
                "http_follow_redirects",
            ),
            "classes": ("js-only", "js-for-http"),
        },
    ),
    ("Python callable", {"fields": ("call",), "classes": ("js-only", "js-for-python")}),
    ("Celery task", {"fields": ("task", "args"), "classes": ("js-only", "js-for-celery")}),
    ("Parameters and environment", {"fields": ("params", "env")}),
    ("Queue and limits", {"fields": (("queue", "priority"), ("timeout", "grace"), ("max_wait", "deadline"))}),
    ("Beside each other", {"fields": ("overlap", "concurrency_key", ("max_running", "rate"), "unique")}),
    (
        "Retries",
        {
            "fields": (
                "retries_max",
                ("retries_backoff", "retries_strategy", "retries_max_backoff"),
                "retries_jitter",
                "retries_failures",
                ("retries_exit_codes", "retries_exceptions", "retries_statuses"),
                "on_lost",
                "background",
            ),
        },
    ),
)
READ_ONLY = ((None, {"fields": ("name", "project", "kind_read", "words")}),)
"""The rest stands below it as the job's YAML."""
VERSIONS_A_PAGE = 25


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """One definition and what it changed."""

    number: int
    at: datetime
    lines: list[Line]
    first: bool


def manifest_text(job: Job) -> str:
    """Return a job as one would write it in a file."""
    return as_text({"jobs": [definitions.manifest(job)]}, sort=False)


def params_text(job: Job) -> str:
    """Return a job's own parameters as JSON, or nothing when it has none."""
    return json.dumps(job.params, indent=2, ensure_ascii=False) if job.params else ""


def versions(job: Job, *, before: str) -> dict[str, Any]:
    """Return a page of a job's definitions, newest first, each compared with the one before it."""
    found = Definition.objects.filter(job=job).order_by("-version")
    if before.isascii() and before.isdigit() and len(before) < 10:
        found = found.filter(version__lt=int(before))
    rows = list(found[: VERSIONS_A_PAGE + 1])
    earlier = [*rows[1:], None]
    shown = [
        Version(
            number=row.version,
            at=row.created_at,
            lines=difference(older.content if older else None, row.content),
            first=older is None,
        )
        for row, older in zip(rows, earlier, strict=True)
    ][:VERSIONS_A_PAGE]
    return {"versions": shown, "older": shown[-1].number if len(rows) > VERSIONS_A_PAGE else None}
