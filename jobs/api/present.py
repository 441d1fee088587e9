"""Rows as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from jobs.models import Attempt, Run, Transition
from jobs.services.backfill import Filled
from jobs.services.bulk import CancelledMany, RetriedMany
from jobs.services.definitions import Applied, Apply, Preview
from jobs.services.history import Account, Became, Instant
from jobs.services.lookahead import Upcoming
from jobs.services.outputs import Output
from jobs.services.queues import QueueView
from jobs.services.reading import JobView, RunStory, RunView
from jobsched.domain.states import State


def applied(outcome: Applied) -> dict[str, Any]:
    return {"project": outcome.project, "name": outcome.name, "result": outcome.result}


def apply(found: Apply) -> dict[str, Any]:
    """Return how far a file is. `jobs` has the outcome of each job once it is applied."""
    refused = found.state == "refused"
    return {
        "id": found.id,
        "state": found.state,
        "filename": found.filename,
        "total": found.total,
        "checked": found.checked,
        "error": found.error or None,
        "status": (409 if found.is_conflict else 400) if refused else None,
        "jobs": [{"project": found.project, "name": name, "result": result} for name, result in found.results]
        if found.state == "applied"
        else None,
    }


def job_summary(view: JobView) -> dict[str, Any]:
    """What a list shows of a job."""
    job = view.job
    schedule = getattr(job, "schedule", None)
    return {
        "project": job.project.name,
        "name": job.name,
        "kind": job.kind,
        "description": job.description,
        "words": view.words,
        "next_fire_at": _moment(schedule.fires_next_at if schedule else None),
        "queue": job.queue,
        "priority": job.priority,
        "paused": job.paused,
        "version": view.version,
    }


READ_ONLY = ("project", "kind", "words", "next_fire_at", "version", "created_at")
"""What `job` adds to the keys of the format. Accepted and ignored in a change, so that an answer can be edited
and sent back."""


def job(view: JobView, manifest: dict[str, Any]) -> dict[str, Any]:
    """A job as the keys of the YAML format, and READ_ONLY ones."""
    summary = job_summary(view)
    added = {key: summary[key] for key in READ_ONLY if key in summary}
    return {**added, "created_at": _moment(view.job.created_at), **manifest}


def preview(shown: Preview) -> dict[str, Any]:
    return {
        "words": shown.words,
        "fires": [_moment(fire) for fire in shown.fires],
        "skipped": [{"at": _moment(skipped.at), "reason": skipped.reason} for skipped in shown.skipped],
        "warnings": [{"at": _moment(warned.at), "sentence": warned.sentence} for warned in shown.warnings],
        "held": shown.held or None,
    }


def account(found: Account) -> dict[str, Any]:
    return {
        "counts": {became.value: found.count(became) for became in Became},
        "instants": [_instant(instant) for instant in found.instants],
        "unexpected": [run.pk for run in found.unexpected],
        "deletions": [
            {"at": _moment(deletion.at), "by": deletion.by, "outside": deletion.outside} for deletion in found.deletions
        ],
    }


def _instant(instant: Instant) -> dict[str, Any]:
    also = [{"run": run.pk, "state": run.state, "reason": run.reason} for run in instant.also]
    return {
        "at": _moment(instant.at),
        "became": instant.became.value,
        "run": instant.run.pk if instant.run else None,
        "state": instant.run.state if instant.run else None,
        "reason": instant.reason,
        **({"also": also} if also else {}),
    }


def filled(outcome: Filled) -> dict[str, Any]:
    return {
        "id": outcome.id,
        "instants": outcome.instants,
        "made": outcome.made,
        "already": outcome.already,
        "excluded": outcome.excluded,
    }


def upcoming(fire: Upcoming) -> dict[str, Any]:
    return {"at": _moment(fire.at), "project": fire.project, "job": fire.job, "words": fire.words}


def queue(view: QueueView) -> dict[str, Any]:
    return {"name": view.name, "rate": view.rate, "waiting": view.waiting, "held": view.held}


_HELD = {Run.Held.NO: None, Run.Held.QUEUE: "queue", Run.Held.JOB: "job"}


def run(view: RunView) -> dict[str, Any]:
    run = view.run
    return {
        "id": run.pk,
        "project": run.job.project.name,
        "job": run.job.name,
        "state": run.state,
        "reason": run.reason,
        "trigger": run.trigger,
        "requested_by": run.requested_by,
        "queue": run.queue,
        "priority": run.priority,
        "held": _HELD[Run.Held(run.held)] if run.state == State.QUEUED else None,
        "lane": run.lane,
        "scheduled_for": _moment(run.scheduled_for),
        "skipped_until": _moment(run.skipped_until),
        "skipped_count": run.skipped_count,
        "run_at": _moment(run.run_at),
        "created_at": _moment(run.created_at),
        "started_at": _moment(run.started_at),
        "finished_at": _moment(run.finished_at),
        "attempt": run.attempt,
        "max_attempts": view.max_attempts,
        "exit_code": view.exit_code,
        "signal": view.signal,
        "http_status": view.http_status,
        "error": view.error,
        "warning": view.warning,
        "worker": run.worker,
        "lease_until": _moment(run.lease_until),
        "wait_seconds": run.wait_seconds,
        "expires_at": _moment(run.expires_at) if run.state in (State.SCHEDULED, State.QUEUED) else None,
        "deadline_at": _moment(run.deadline_at),
        "retry_of": run.retry_of,
        "cancel_requested_at": _moment(run.cancel_requested_at),
        "cancel_requested_by": run.cancel_requested_by,
        "cancelling": view.cancelling,
        "params": view.params,
        "version": view.version,
    }


def story(found: RunStory) -> dict[str, Any]:
    """A run with its attempts and transitions."""
    return {
        **run(found.view),
        "retries": found.retries,
        "attempts": [_attempt(attempt, found.output_hosts.get(attempt.number)) for attempt in found.attempts],
        "transitions": [_transition(transition) for transition in found.transitions],
    }


def _attempt(attempt: Attempt, output_host: str | None) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "verdict": attempt.verdict,
        "reason": attempt.reason,
        "exit_code": attempt.exit_code,
        "signal": attempt.signal,
        "http_status": attempt.http_status,
        "error": attempt.error,
        "warning": attempt.warning,
        "started_at": _moment(attempt.started_at),
        "finished_at": _moment(attempt.finished_at),
        "duration_seconds": (attempt.finished_at - attempt.started_at).total_seconds(),
        "output": getattr(attempt, "excerpt", ""),
        "output_total": attempt.output_total,
        "output_host": output_host,
        "sections": attempt.sections,
        "result": attempt.result,
        "worker": attempt.worker,
        "killed": attempt.killed,
        "processes": attempt.processes or [],
    }


def cancelled_many(done: CancelledMany) -> dict[str, Any]:
    return {"ended": done.ended, "asked": done.asked, "next": done.next}


def retried_many(done: RetriedMany) -> dict[str, Any]:
    return {
        "made": done.made,
        "skipped": done.skipped,
        "waiting": done.waiting,
        "refused": done.refused,
        "why": done.why,
        "next": done.next,
    }


def _transition(transition: Transition) -> dict[str, Any]:
    return {
        "at": _moment(transition.at),
        "before": transition.before,
        "after": transition.after,
        "reason": transition.reason,
        "attempt": transition.attempt,
        "actor": transition.actor,
    }


def output(part: Output) -> dict[str, Any]:
    return {
        "output": part.text,
        "offset": part.offset,
        "finished": part.finished,
        "attempt": part.attempt,
    }


def _moment(moment: datetime | None) -> str | None:
    return moment.isoformat().replace("+00:00", "Z") if moment else None
