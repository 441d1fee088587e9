"""What a job's description means as columns of the job, in this installation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from celery import current_app

from jobs import celery_tasks
from jobs.conf import conf
from jobs.services.definitions.timing import interval
from jobsched import callables
from jobsched.domain.errors import InvalidInput
from jobsched.domain.specs import JobSpec
from jobsched.domain.steering import steers_programs
from jobsched.environment import refusal


def columns(spec: JobSpec, *, where: str) -> dict[str, Any]:
    """Return the columns of a job as the store stages them. Raises InvalidInput for what cannot run here."""
    if spec.queue not in conf().queues:
        raise InvalidInput(
            f"no worker serves the queue '{spec.queue}'; there {_are(conf().queues)} (JOBSCHED_QUEUES)",
            where=f"{where}, key 'queue'",
        )
    fields: dict[str, Any] = {
        "description": spec.description,
        "kind": spec.kind,
        "spec": spec.spec,
        "queue": spec.queue,
        "priority": spec.priority,
        "timeout": interval(spec.timeout),
        "grace": interval(spec.grace),
        "max_wait": interval(spec.max_wait),
        "deadline": interval(spec.deadline),
        "retries": spec.retries.model_dump(mode="json", exclude_defaults=True),
        "on_lost": spec.on_lost,
        "background": spec.background,
        "env": dict(spec.env),
        "params": dict(spec.params),
        "in_process": False,
        "overlap": spec.effective_overlap,
        "max_running": spec.max_running,
        "concurrency_key": spec.concurrency_key or "",
        "unique_waiting": spec.unique,
        "rate": spec.rate or "",
    }
    if spec.kind in ("python", "celery"):
        _check_env(spec.env, where=where)
    if spec.kind == "python":
        fields["in_process"] = _callable(spec, where=where).in_process
    elif spec.kind == "celery":
        fields |= _celery_policy(spec, where=where)
    if "paused" in spec.model_fields_set:
        fields["paused"] = spec.paused  # else a pause outlasts the same file
    return fields


def _are(queues: Iterable[str]) -> str:
    names = [f"'{queue}'" for queue in queues]
    return f"is {names[0]}" if len(names) == 1 else f"are {', '.join(names)}"


def _callable(spec: JobSpec, *, where: str) -> callables.JobCallable:
    call = spec.spec["call"]
    where = f"{where}, key 'call'"
    try:
        if ":" not in call:  # the modules that register callables may be loaded in workers only
            current_app.loader.import_default_modules()
        return callables.resolve(call)
    except InvalidInput as error:
        raise InvalidInput(error.message, where=where) from error
    except (Exception, SystemExit) as error:  # raised by a module of the project while it was imported
        raise InvalidInput(f"{call!r} cannot be imported: {type(error).__name__}: {error}", where=where) from error


def _check_env(env: Mapping[str, str], *, where: str) -> None:
    """Raise InvalidInput for a variable that would change what code of the project does."""
    for name in env:
        if steers_programs(name):
            raise InvalidInput(refusal(name), where=f"{where}, key 'env'")


def _celery_policy(spec: JobSpec, *, where: str) -> dict[str, Any]:
    """A task's own options are the job's policy, but for what the job says itself."""
    try:
        options = celery_tasks.policy(spec.spec["task"])
    except InvalidInput as error:
        raise InvalidInput(error.message, where=f"{where}, key 'task'") from error
    said = spec.model_fields_set
    policy: dict[str, Any] = {"spec": {**spec.spec, "own_retries": "retries" not in said}}
    if "retries" not in said:
        policy["retries"] = {"max": options.max_retries} if options.max_retries else {}
    if "timeout" not in said and options.timeout is not None:
        policy["timeout"] = interval(options.timeout)
        if "grace" not in said and options.grace is not None:
            policy["grace"] = interval(options.grace)
    return policy
