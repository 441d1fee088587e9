"""Create, change and remove jobs. YAML, REST and the admin all come through here, as a JobSpec."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from itertools import islice
from typing import Any

from celery import current_app
from django.db import models, transaction
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask

from jobs import celery_tasks
from jobs.conf import conf
from jobs.models import Job, Project, Run, Schedule
from jobs.rules import (
    Rule,
    as_text,
    excluded,
    first_after,
    in_words,
    instants,
    jitter,
    last_deletion,
    only_on_request,
    rule_for,
    rule_of,
    timetable,
)
from jobs.store import control
from jobs.store.schedules import name_actor
from jobs.store.session import django_connection
from jobsched import callables
from jobsched.domain import durations
from jobsched.domain import manifest as yaml_format
from jobsched.domain.clockchanges import moved as moved_by_clock_changes
from jobsched.domain.errors import Conflict, InvalidInput
from jobsched.domain.specs import JobSpec
from jobsched.domain.steering import steers_programs
from jobsched.domain.timetables import Once, stored_timetable
from jobsched.environment import refusal

logger = logging.getLogger(__name__)

WARN_AHEAD = timedelta(days=731)
"""How far ahead clock changes are warned of: two years."""
PREVIEW_LIMIT = 10_000
"""Instants looked at for a preview: a blackout may cover many."""
_FAR = timedelta(days=41 * 366)


class Result(StrEnum):
    """What saving a job came to."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, kw_only=True, slots=True)
class Applied:
    """One job of a file, and what became of it."""

    project: str
    name: str
    result: Result


@dataclass(frozen=True, kw_only=True, slots=True)
class Skipped:
    """An instant that will not be run, and why."""

    at: datetime
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Warned:
    """An instant that a clock change moves, in a sentence."""

    at: datetime
    sentence: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Preview:
    """A schedule in words, and its next instants."""

    words: str
    fires: list[datetime] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    """Instants before the last of `fires` that lie in excluded days or windows."""
    warnings: list[Warned] = field(default_factory=list)
    """Instants within the next two years that a clock change will move."""
    held: str = ""
    """Why none of `fires` will lead to a run for now: "paused", "switched off", or empty when they will."""


def apply(text: str | bytes, *, filename: str, actor: str) -> list[Applied]:
    """Create or update the jobs of a YAML file: all of them, or none and InvalidInput."""
    file = yaml_format.parse(text, filename=filename)
    with transaction.atomic():
        return [save(spec, project=file.project, actor=actor, where=filename) for spec in file.jobs]


def save(spec: JobSpec, *, project: str = "default", actor: str, where: str = "", must_be_new: bool = False) -> Applied:
    """Create a job or make it what `spec` says. Raises InvalidInput, and Conflict when it must be new and is not.

    What a person does while operating (pausing) outlasts the same file being applied again.
    """
    where = ", ".join(part for part in (where, f"job '{spec.name}'") if part)
    fields = _fields(spec, where=where)
    with transaction.atomic():
        Project.objects.get_or_create(name=project)
        # One save at a time in a project: two people who make the same new job must not collide.
        owner = Project.objects.select_for_update().get(name=project)
        job = Job.objects.current().select_for_update().filter(project=owner, name=spec.name).first()
        if job is None:
            job = Job(project=owner, name=spec.name, **fields, paused=spec.paused)
            job.save()
            result = Result.CREATED
            _save_schedule(job, spec, actor=actor, where=where)
        elif must_be_new:
            raise Conflict(f"There is a job '{spec.name}' in project '{project}' already; change that one.")
        else:
            if "paused" in spec.model_fields_set:
                fields["paused"] = spec.paused
            changed = [name for name, value in fields.items() if getattr(job, name) != value]
            if changed:
                for name in changed:
                    setattr(job, name, fields[name])
                job.save(update_fields=changed)
            moved = _save_schedule(job, spec, actor=actor, where=where)
            result = Result.UPDATED if changed or moved else Result.UNCHANGED
    if result is not Result.UNCHANGED:
        logger.info("job %s project=%s job=%s actor=%s", result, project, spec.name, actor)
    return Applied(project=project, name=spec.name, result=result)


def _fields(spec: JobSpec, *, where: str) -> dict[str, Any]:
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
        "timeout": spec.timeout,
        "grace": spec.grace,
        "max_wait": spec.max_wait,
        "deadline": spec.deadline,
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
        policy["timeout"] = options.timeout
        if "grace" not in said and options.grace is not None:
            policy["grace"] = options.grace
    return policy


def _save_schedule(job: Job, spec: JobSpec, *, actor: str, where: str) -> bool:
    """Make the job's PeriodicTask, and our row beside it, what the spec says. Return whether anything changed."""
    schedule = Schedule.objects.filter(job=job).with_rule().first()
    now = datetime.now(UTC)
    wanted = spec.timetable(anchor=now)
    if wanted is None:
        if schedule is None:
            return False
        name_actor(django_connection, actor)
        schedule.periodic_task.delete()
        return True
    rule = replace(
        rule_for(wanted, anchor=schedule.anchor if schedule else now),
        start_time=spec.starts_at,
        expires=spec.ends_at,
    )
    one_off = spec.run_once or isinstance(wanted, Once)
    policies = _policies(spec)
    moved = schedule is None or schedule.periodic_task.one_off != one_off or _timing(schedule) != rule
    if moved or (schedule is not None and schedule.exclusions != policies["exclusions"]):
        # Not when it has fired for the last time: the same file must not start it again.
        _refuse_never_due(replace(rule, exclusions=as_text(policies["exclusions"])), now=now, where=where)
    if moved:
        task = schedule.periodic_task if schedule else _new_task(job)
        task.one_off, task.enabled = one_off, True
        task.start_time, task.expires = rule.start_time, rule.expires
        task.crontab, task.interval, task.clocked, task.solar = *_rows(rule), None
        # Their own `save` insists on one of their rows; a kind that they have none for is kept in ours.
        models.Model.save(task)
        Schedule.objects.filter(pk=task.pk).update(
            job=job, timetable=None if rule.stored is None else json.loads(rule.stored), **policies
        )
        return True
    changed = {name: value for name, value in policies.items() if getattr(schedule, name) != value}
    Schedule.objects.filter(job=job).update(**changed) if changed else None
    return bool(changed)


def _refuse_never_due(rule: Rule, *, now: datetime, where: str = "") -> None:
    """Raise InvalidInput when no instant after `now` will be run: by the rule itself, its end or its exclusions."""
    following = first_after(rule, now)
    if following is None:
        key, sentence = _why_over(rule, now)
    else:
        exclusions = excluded(rule)
        if exclusions is None or exclusions.first_outside(partial(first_after, rule), now) is not None:
            return
        key = "'exclude' or 'blackout'"
        sentence = (
            f"every instant from {_clock(following)} on lies in an excluded day or a blackout, so that nothing would "
            "be run; exclude less"
        )
    raise InvalidInput(sentence, where=", ".join(filter(None, (where, f"key {key}"))))


def _why_over(rule: Rule, now: datetime) -> tuple[str, str]:
    """Return the key that leaves a rule without an instant after `now`, and the reason as a sentence."""
    if rule.clocked is not None:
        return "'at'", (
            f"{_clock(rule.clocked)} lies in the past; give a moment to come, or leave 'at' out and request the job"
        )
    if rule.expires is not None and rule.expires <= now:
        return "'end'", f"{_clock(rule.expires)} lies in the past; give a moment to come, or leave 'end' out"
    following = first_after(replace(rule, expires=None), now)
    if following is None or rule.expires is None:
        since = max(filter(None, (now, rule.start_time)))
        return "'schedule'", f"it has no instant after {_clock(since)}; give one that has, or leave it out"
    return "'end'", (
        f"the first instant is {_clock(following)}, and the schedule ends at {_clock(rule.expires)}; "
        "give a later 'end', or leave it out"
    )


def _clock(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _timing(schedule: Schedule) -> Rule:
    return replace(rule_of(schedule.periodic_task, schedule), exclusions=None)


def _policies(spec: JobSpec) -> dict[str, Any]:
    """What a schedule says beside when."""
    return {
        "catch_up": spec.catch_up.policy,
        "catch_up_window": spec.catch_up.window,
        "catch_up_limit": spec.catch_up.limit,
        "jitter": spec.jitter,
        "exclusions": {"exclude": list(spec.exclude), "blackout": list(spec.blackout), "timezone": spec.timezone}
        if spec.exclude or spec.blackout
        else None,
    }


def _new_task(job: Job) -> PeriodicTask:
    # The name is for people: beat makes runs of this row and sends no message. No Celery task answers to it,
    # since whoever can write to the broker may wake workers and must not request jobs.
    name = f"{job.project.name}/{job.name} (job {job.pk})"
    # A row that SQL has parted from its job, or from our row beside it, has the name still.
    PeriodicTask.objects.filter(name=name, task="jobs.trigger", jobs_schedule__job=None).delete()
    return PeriodicTask(
        name=name,
        task="jobs.trigger",
        args=json.dumps([job.name]),
        kwargs=json.dumps({"project": job.project.name}),
    )


def _rows(rule: Rule) -> tuple[CrontabSchedule | None, IntervalSchedule | None, ClockedSchedule | None]:
    """Find or make the django-celery-beat rows of a rule. They are shared, and so never altered."""
    if rule.crontab:
        names = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week", "timezone")
        wanted = dict(zip(names, rule.crontab, strict=True))
        return CrontabSchedule.objects.filter(**wanted).first() or CrontabSchedule.objects.create(**wanted), None, None
    if rule.interval:
        every, period = rule.interval
        return None, IntervalSchedule.objects.get_or_create(every=every, period=period)[0], None
    if rule.stored:
        return None, None, None
    return None, None, ClockedSchedule.objects.get_or_create(clocked_time=rule.clocked)[0]


def preview(spec: JobSpec, *, count: int = 5) -> Preview:
    """Return the schedule of a job that need not be saved yet, in words and with its next instants."""
    now = datetime.now(UTC)
    wanted = spec.timetable(anchor=now)
    if wanted is None:
        return Preview(words="only on request")
    rule = replace(
        rule_for(wanted, anchor=now),
        start_time=spec.starts_at,
        expires=spec.ends_at,
        exclusions=as_text(_policies(spec)["exclusions"]),
    )
    words = f"{wanted.words()}, once only" if spec.run_once and not isinstance(wanted, Once) else wanted.words()
    once = spec.run_once or isinstance(wanted, Once)
    held = "paused" if spec.paused else ""
    found = _previewed(rule, words, after=now, count=1 if once else count, once=once, held=held)
    try:
        _refuse_never_due(rule, now=now)
    except InvalidInput as error:
        found.warnings.insert(0, Warned(at=now, sentence=str(error)))
    return found


def preview_of(job: Job, *, count: int = 5) -> Preview:
    """Return the schedule of a saved job in words, and its next instants as the scheduler will fire them."""
    schedule = Schedule.objects.filter(job=job).with_rule().first()
    if schedule is None:
        return Preview(words=only_on_request(last_deletion(job)))
    task = schedule.periodic_task
    if not task.enabled:
        return Preview(words=in_words(schedule), held=schedule.held)
    return _previewed(
        rule_of(task, schedule),
        in_words(schedule),
        after=max(schedule.cursor, datetime.now(UTC)),
        count=1 if task.one_off else count,
        once=task.one_off,
        held=schedule.held,
        offset=jitter(schedule.pk, schedule.jitter),
    )


def _previewed(
    rule: Rule, words: str, *, after: datetime, count: int, once: bool, held: str, offset: timedelta = timedelta(0)
) -> Preview:
    exclusions = excluded(rule)
    fires: list[datetime] = []
    skipped: list[Skipped] = []
    for instant in islice(instants(rule, after=after, until=after + _FAR), PREVIEW_LIMIT):
        reason = exclusions.reason(instant) if exclusions else None
        if reason is None:
            fires.append(instant + offset)
        elif len(skipped) < count:
            skipped.append(Skipped(at=instant, reason=reason))
        if len(fires) == count:
            break
    last = fires[-1] if once and fires else None
    end = min(filter(None, (last, rule.expires, after + WARN_AHEAD)))
    warnings = [
        Warned(at=m.at, sentence=m.sentence) for m in moved_by_clock_changes(timetable(rule), after=after, until=end)
    ]
    return Preview(words=words, fires=fires, skipped=skipped, warnings=warnings, held=held)


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


def remove(job: Job, *, actor: str) -> None:
    """Delete a job: its schedule goes and its waiting runs are cancelled, its history stays."""
    with transaction.atomic():
        name_actor(django_connection, actor)
        PeriodicTask.objects.filter(jobs_schedule__job=job).delete()
        Job.objects.filter(pk=job.pk).update(archived_at=datetime.now(UTC))
        waiting = list(Run.objects.active().filter(job=job).values_list("pk", flat=True))
        control.cancel(django_connection, waiting, actor=actor)
    logger.info("job removed project=%s job=%s actor=%s", job.project.name, job.name, actor)
