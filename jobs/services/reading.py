"""What people ask to see: jobs, runs, and what a run printed. Reads only; the store is not involved.

Every list comes in pages, and a page costs the same few queries however many rows it holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from django.db.models import F, OuterRef, QuerySet, Subquery, Sum
from django.db.models.functions import JSONObject, Now, Right

from jobs.conf import conf
from jobs.models import Attempt, Job, OutputChunk, OutputStore, Run, Transition
from jobs.models.run import RunQuerySet
from jobs.models.runfilter import RunFilter
from jobs.output_storage import store_token
from jobs.rules import job_in_words, with_deletion
from jobsched.domain import durations
from jobsched.domain.errors import NotFound
from jobsched.domain.states import State

EVERY_RUN = RunFilter()
EXCERPT_CHARACTERS = 8192
"""How much of the end of an attempt's output stands beside the attempt itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobView:
    """A job, the version it has reached, and its schedule in words."""

    job: Job
    version: int
    words: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RunView:
    """A run, what its definition adds, and how its last attempt ended."""

    run: Run
    version: int
    """Of the definition it is performed by."""
    params: dict[str, Any]
    """What it is performed with: the definition's parameters, with the request's own laid over them."""
    max_attempts: int
    exit_code: int | None
    """Of its last attempt, as are those that follow; None while that is under way."""
    signal: int | None
    warning: str
    http_status: int | None
    error: str | None
    cancelling: str
    """For a running run that was asked to end: when it will, at the latest. Else empty."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunStory:
    """A run with all that happened to it, oldest first."""

    view: RunView
    retries: list[int]
    """The runs that repeat it."""
    attempts: list[Attempt]
    """Those that have ended; `output` holds the last EXCERPT_CHARACTERS of what was printed."""
    transitions: list[Transition]
    output_hosts: dict[int, str]
    """By number of an attempt: the host whose disk has its output, where this process cannot read it."""
    output_not_kept: dict[int, int]
    """By number of an attempt that printed more than the limit: how many bytes in the middle are not kept."""


def jobs(*, project: str | None, after: str | None, limit: int) -> list[JobView]:
    """Return up to `limit` jobs by project and name; with `after`, those whose `project/name` comes later."""
    found = _jobs()
    if project is not None:
        found = found.filter(project__name=project)
    if after is not None:
        owner, _, name = after.partition("/")
        found = found.filter(project__name__gt=owner) | found.filter(project__name=owner, name__gt=name)
    return [_job_view(job) for job in found.order_by("project__name", "name")[:limit]]


def job(name: str, *, project: str) -> JobView:
    """Return one job. Raises NotFound."""
    try:
        return _job_view(_jobs().get(project__name=project, name=name))
    except Job.DoesNotExist:
        raise NotFound(f"There is no job '{name}' in project '{project}'.") from None


def _jobs() -> QuerySet[Job]:
    kinds = (f"schedule__periodic_task__{kind}" for kind in ("crontab", "interval", "clocked", "solar"))
    found = Job.objects.current().select_related("project", *kinds).annotate(version=F("definition__version"))
    return with_deletion(found)


def _job_view(job: Job) -> JobView:
    return JobView(job=job, version=getattr(job, "version", 0), words=job_in_words(job))


def runs(chosen: RunFilter = EVERY_RUN, *, before: int | None = None, limit: int) -> list[RunView]:
    """Return up to `limit` runs that match, newest first; with `before`, those older than that run."""
    found = chosen.of(_runs())
    if before is not None:
        found = found.filter(pk__lt=before)
    return [view(run) for run in found.order_by("-pk")[:limit]]


def runs_by_id(run_ids: list[int]) -> list[RunView]:
    """Return these runs, in the order they were made."""
    return [view(run) for run in _runs().filter(pk__in=run_ids).order_by("pk")]


def run(run_id: int) -> RunView:
    """Return one run. Raises NotFound."""
    try:
        return view(_runs().get(pk=run_id))
    except Run.DoesNotExist:
        raise NotFound(f"There is no run {run_id}.") from None


def story(run_id: int) -> RunStory:
    """Return a run with its attempts and transitions. Raises NotFound."""
    found = run(run_id)  # read first: what is read after it is at least as new
    attempts = Attempt.objects.filter(run=run_id).defer("output").order_by("number")
    ended: Sequence[Attempt] = list(attempts.annotate(excerpt=Right("output", EXCERPT_CHARACTERS)))
    return RunStory(
        view=found,
        retries=list(Run.objects.filter(retry_of=run_id).order_by("pk").values_list("pk", flat=True)),
        attempts=[*ended],
        transitions=list(Transition.objects.filter(run=run_id).order_by("id")),
        output_hosts=_output_hosts(run_id),
        output_not_kept=_output_not_kept(run_id, ended),
    )


def _output_hosts(run_id: int) -> dict[int, str]:
    stores = OutputStore.objects.filter(chunks__run=run_id).values_list("chunks__attempt", "host", "token").distinct()
    here = store_token()
    return {attempt: host for attempt, host, token in stores if token != here}


def _output_not_kept(run_id: int, ended: Sequence[Attempt]) -> dict[int, int]:
    printed = {one.number: one.output_total for one in ended if one.output_total > EXCERPT_CHARACTERS}
    if not printed:
        return {}
    chunks = OutputChunk.objects.filter(run=run_id, attempt__in=printed).order_by()
    kept = chunks.values("attempt").annotate(size_kept=Sum("size")).values_list("attempt", "size_kept")
    return {number: printed[number] - size for number, size in kept if size < printed[number]}


def _runs() -> RunQuerySet:
    return with_view_fields(Run.objects.all())


_ENDED_WITH = ("exit_code", "signal", "http_status", "error", "warning")
"""Fields of the last attempt that are shown with its run."""


def with_view_fields(runs: RunQuerySet) -> RunQuerySet:
    """Make a query of runs fetch all that `view` needs, in one statement."""
    last = Attempt.objects.filter(run=OuterRef("pk"), number=OuterRef("attempt"))
    # A definition may hold a long script: only what is shown of it is fetched.
    return runs.select_related("job__project").annotate(
        version=F("definition__version"),
        own_params=F("definition__content__params"),
        retries=F("definition__content__retries__max"),
        asked_at=Now(),
        last=Subquery(last.values(ended=JSONObject(**{name: name for name in _ENDED_WITH}))),
    )


def view(run: Run) -> RunView:
    """Return what is shown of a run that `with_view_fields` fetched."""
    ended = getattr(run, "last", None) or {}
    return RunView(
        run=run,
        version=getattr(run, "version", 0),
        params={**(getattr(run, "own_params", None) or {}), **(run.params or {})},
        max_attempts=1 + (getattr(run, "retries", None) or 0),
        exit_code=ended.get("exit_code"),
        signal=ended.get("signal"),
        warning=ended.get("warning") or "",
        http_status=ended.get("http_status"),
        error=ended.get("error"),
        cancelling=_cancelling(run),
    )


def _cancelling(run: Run) -> str:
    if run.state != State.RUNNING or run.cancel_requested_at is None or run.lease_until is None:
        return ""
    ends = f"{run.lease_until.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    if run.lease_until <= run.asked_at:  # type: ignore[attr-defined]  # annotated: the clock that set the lease
        return (
            f"the request is recorded; its worker {run.worker} has given no sign of life within its lease, "
            f"which ended at {ends}, and a beat ends the run as soon as one runs"
        )
    beats = durations.words(conf().heartbeat)
    return (
        f"the request is recorded; its worker {run.worker} ends it when it hears of it, at its next heartbeat at the "
        f"latest (every {beats}), and if it cannot be reached the run ends with its lease, at {ends}"
    )
