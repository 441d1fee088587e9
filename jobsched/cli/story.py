"""One run in full."""

from __future__ import annotations

import json
from typing import Any

from jobsched.cli.tables import duration, fields, moment, run_duration, table

_NAMED = (
    "state",
    "reason",
    "trigger",
    "requested_by",
    "queue",
    "held",
    "lane",
    "priority",
    "version",
    "worker",
    "cancel_requested_by",
)
_MOMENTS = ("scheduled_for", "skipped_until", "run_at", "created_at", "started_at", "finished_at")


def print_story(story: dict[str, Any]) -> None:
    """Print a run, its attempts with their steps, and its transitions."""
    fields(
        [
            ("run", story["id"]),
            ("job", f"{story['project']}/{story['job']}"),
            *((name.replace("_", " "), story[name]) for name in _NAMED),
            ("instants skipped", story["skipped_count"]),
            ("attempt", f"{story['attempt']} of at most {story['max_attempts']}"),
            ("parameters", json.dumps(story["params"]) if story["params"] else None),
            *((f"{name.replace('_', ' ')} (UTC)", moment(story[name])) for name in _MOMENTS),
            ("took", run_duration(story)),
        ]
    )
    if story["attempts"]:
        table(
            ["attempt", "verdict", "exit", "took", "result", "reason"],
            [row for attempt in story["attempts"] for row in _attempt_rows(attempt)],
            title="attempts",
        )
    table(
        ["at (UTC)", "from", "to", "by", "reason"],
        [(moment(t["at"]), t["before"], t["after"], t["actor"], t["reason"]) for t in story["transitions"]],
        title="history",
    )


def _attempt_rows(attempt: dict[str, Any]) -> list[tuple[Any, ...]]:
    code = attempt["http_status"] if attempt["exit_code"] is None else attempt["exit_code"]
    result = None if attempt["result"] is None else json.dumps(attempt["result"])
    took = duration(attempt["duration_seconds"])
    rows: list[tuple[Any, ...]] = [(attempt["number"], attempt["verdict"], code, took, result, attempt["reason"])]
    for section in attempt["sections"] or []:
        took = duration(section["duration_seconds"])
        rows.append((f"  {section['name']}", section["verdict"], section["exit_code"], took, None, None))
    return rows
