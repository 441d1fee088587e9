"""Whether the callables and tasks that jobs name can be run: settings and code change after a job was saved."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final

from celery import current_app

from jobs import celery_tasks
from jobs.models import Job
from jobs.services.preflight.findings import Finding, Notes, first_line
from jobsched import callables
from jobsched.domain.errors import InvalidInput

_SHOWN: Final = 5


def look() -> list[Finding]:
    """Return a finding for each callable or task that no run could perform. Raises DatabaseError."""
    notes = Notes("jobs")
    jobs_by_work: dict[tuple[str, str], list[str]] = defaultdict(list)
    rows = Job.objects.current().filter(kind__in=("python", "celery")).order_by("pk")
    for name, kind, spec in rows.values_list("name", "kind", "spec"):
        jobs_by_work[kind, _named(kind, spec)].append(name)
    current_app.loader.import_default_modules()
    for (kind, work), jobs in jobs_by_work.items():
        problem = _problem(kind, work)
        if problem:
            shown = ", ".join(f"'{job}'" for job in jobs[:_SHOWN])
            more = f" and {len(jobs) - _SHOWN} more" if len(jobs) > _SHOWN else ""
            notes.error("work", f"Runs of {shown}{more} cannot be performed: {problem}.")
    if not notes.found:
        notes.fine("work", "Every callable and task that jobs name is there and allowed.")
    return notes.found


def _named(kind: str, spec: dict[str, Any]) -> str:
    return str(spec.get("call" if kind == "python" else "task", ""))


def _problem(kind: str, work: str) -> str:
    try:
        if kind == "python":
            callables.resolve(work)
        else:
            celery_tasks.find_task(work)
    except InvalidInput as error:
        return error.message.rstrip(".")
    except (Exception, SystemExit) as error:  # raised by a module of the project while it was imported
        return f"{work} cannot be imported ({type(error).__name__}: {first_line(error)})"
    return ""
