"""A job as its description would be written."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from jobs.models import Job, Schedule
from jobs.rules import rule_of
from jobsched.domain import durations
from jobsched.domain.specs import JobSpec
from jobsched.domain.timetables import stored_timetable


def manifest(job: Job) -> dict[str, Any]:
    """Return a job as the keys of the YAML format, defaults left out. It reads back as the same job."""
    schedule = Schedule.objects.filter(job=job).with_rule().first()
    said: dict[str, Any] = {
        **_work(job),
        **(_when(schedule) if schedule else {}),
        "description": job.description,
        "queue": job.queue,
        "priority": job.priority,
        "timeout": job.timeout,
        "grace": job.grace,
        "max_wait": job.max_wait,
        "deadline": job.deadline,
        # A Celery task's own options are no part of what the user said.
        **({} if job.spec.get("own_retries") else {"retries": job.retries}),
        "on_lost": job.on_lost,
        "background": job.background,
        "env": job.env,
        "params": job.params,
        "paused": job.paused,
        "overlap": None if job.overlap == ("queue" if job.concurrency_key else "allow") else job.overlap,
        "max_running": job.max_running,
        "concurrency_key": job.concurrency_key or None,
        "unique": job.unique_waiting,
        "rate": job.rate or None,
    }
    spec = JobSpec.model_validate({"name": job.name, **said})
    differs = {
        key for key in said if getattr(spec, key) != JobSpec.model_fields[key].get_default(call_default_factory=True)
    }
    return spec.model_dump(mode="json", include={"name", *differs}, exclude_unset=True)


def _work(job: Job) -> dict[str, Any]:
    spec = job.spec
    match job.kind:
        case "shell":
            return {"run": spec["command"]}
        case "steps":
            return {"steps": [_with_duration(step) for step in spec["steps"]]}
        case "http":
            return {"http": _with_duration(spec)}
        case "python":
            return {"call": spec["call"]}
        case _:
            return {"task": spec["task"], "args": spec.get("args", [])}


def _with_duration(spec: dict[str, Any]) -> dict[str, Any]:
    """Executors read seconds; users write durations."""
    seconds = spec.get("timeout_seconds")
    rest = {key: value for key, value in spec.items() if key != "timeout_seconds"}
    return rest if seconds is None else {**rest, "timeout": timedelta(seconds=seconds)}


def _when(schedule: Schedule) -> dict[str, Any]:
    task = schedule.periodic_task
    rule = rule_of(task, schedule)
    data: dict[str, Any] = {}
    zone = (schedule.exclusions or {}).get("timezone", "UTC")
    if rule.stored is not None:
        data["schedule"], zone = stored_timetable(json.loads(rule.stored)).written()
    elif rule.crontab:
        *fields, zone = rule.crontab
        data["schedule"] = " ".join(fields)
    elif rule.interval:
        every, period = rule.interval
        data["schedule"] = durations.to_text(timedelta(**{period: every}))
    elif rule.clocked:
        data["at"] = rule.clocked
    if zone != "UTC":
        data["timezone"] = zone
    if task.one_off and not rule.clocked:
        data["run_once"] = True
    return {
        **data,
        "start": rule.start_time,
        "end": rule.expires,
        "catch_up": {
            "policy": schedule.catch_up,
            "window": schedule.catch_up_window,
            "limit": schedule.catch_up_limit,
        },
        "jitter": schedule.jitter,
        "exclude": (schedule.exclusions or {}).get("exclude", ()),
        "blackout": (schedule.exclusions or {}).get("blackout", ()),
    }
