"""One run in full."""

from __future__ import annotations

import json
from typing import Any

from jobsched.cli.tables import duration, ending, fields, moment, process_end, remark, run_duration, table
from jobsched.cli.terminal import say
from jobsched.domain.attempts import attempts_in_words

_NAMED = (
    "state",
    "reason",
    "warning",
    "trigger",
    "requested_by",
    "queue",
    "held",
    "lane",
    "priority",
    "version",
    "worker",
    "retry_of",
    "cancel_requested_by",
    "cancelling",
)
_MOMENTS = (
    *("scheduled_for", "skipped_until", "run_at", "expires_at", "deadline_at", "created_at", "started_at"),
    *("finished_at", "cancel_requested_at"),
)


def print_story(story: dict[str, Any]) -> None:
    """Print a run, its attempts with their steps, and its transitions."""
    fields(
        [
            ("run", story["id"]),
            ("job", f"{story['project']}/{story['job']}"),
            *((name.replace("_", " "), story[name]) for name in _NAMED),
            ("retried as", ", ".join(str(number) for number in story["retries"])),
            ("may wait", None if story["wait_seconds"] is None else duration(story["wait_seconds"])),
            ("instants skipped", story["skipped_count"]),
            ("attempt", attempts_in_words(story["attempt"], story["max_attempts"])),
            ("parameters", json.dumps(story["params"]) if story["params"] else None),
            *((f"{name.replace('_', ' ')} (UTC)", moment(story[name])) for name in _MOMENTS),
            ("took", run_duration(story)),
            ("processes killed", sum(attempt["killed"] for attempt in story["attempts"]) or None),
        ]
    )
    if story["attempts"]:
        table(
            ["attempt", "verdict", "ended with", "took", "result", "reason"],
            [row for attempt in story["attempts"] for row in _attempt_rows(attempt)],
            title="attempts",
        )
    for attempt in story["attempts"]:
        if host := attempt.get("output_host"):
            say(
                f"The output of attempt {attempt['number']} is on the disk of host {host}, which the server cannot "
                "read; `jobsched logs` shows its end."
            )
    if ended := [(attempt, process) for attempt in story["attempts"] for process in attempt["processes"]]:
        table(
            ["attempt", "pid", "process", "ended by"],
            [(attempt["number"], process["pid"], process["name"], process["ended"]) for attempt, process in ended],
            title="processes that were ended",
        )
    table(
        ["at (UTC)", "from", "to", "by", "reason"],
        [(moment(t["at"]), t["before"], t["after"], t["actor"], t["reason"]) for t in story["transitions"]],
        title="history",
    )


def _attempt_rows(attempt: dict[str, Any]) -> list[tuple[Any, ...]]:
    result = None if attempt["result"] is None else json.dumps(attempt["result"])
    took = duration(attempt["duration_seconds"])
    rows: list[tuple[Any, ...]] = [
        (attempt["number"], attempt["verdict"], ending(attempt), took, result, remark(attempt))
    ]
    for section in attempt["sections"] or []:
        took = duration(section["duration_seconds"])
        ended = ", ".join(process_end(section["exit_code"], section.get("signal")))
        rows.append((f"  {section['name']}", section["verdict"], ended, took, None, None))
    return rows
