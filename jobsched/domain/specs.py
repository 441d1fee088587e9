"""A job as users describe it: the one source of truth for the YAML format, REST and the admin's forms."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from jobsched.domain import concurrency, durations, rates, windows
from jobsched.domain.catchup import CatchUp, CatchUpPolicy
from jobsched.domain.errors import InvalidInput
from jobsched.domain.exclusions import Exclusions
from jobsched.domain.fieldtypes import (
    Command,
    Duration,
    Environment,
    JsonObject,
    Limit,
    Strict,
    matching,
)
from jobsched.domain.kinds import (
    SPECS,
    Args,
    Call,
    CelerySpec,
    HttpSpec,
    PythonSpec,
    ShellSpec,
    Spec,
    Steps,
    StepsSpec,
    Task,
)
from jobsched.domain.moments import Moment, TimeZone, check_unambiguous, in_utc
from jobsched.domain.rates import Rate
from jobsched.domain.retry import RetryPolicy
from jobsched.domain.storable import check_storable
from jobsched.domain.timetables import Once, Timetable, parse_schedule

__all__ = ["KINDS", "SPECS", "JobSpec"]

KINDS: Final = {"run": "shell", "steps": "steps", "http": "http", "call": "python", "task": "celery"}
"""The kind that each of the five keys that say what to do stands for."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_JITTER: Final = timedelta(days=1)
_MOST_WINDOWS: Final = 1000
"""Entries of `exclude` and of `blackout`, each of which is looked at for every instant."""

_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}"
_QUEUE: Final = r"[a-z0-9][a-z0-9_.-]{0,62}"

Name = Annotated[
    str,
    AfterValidator(
        matching(
            _NAME,
            "a name has up to 100 letters, digits, spaces, dots, dashes and underscores, a letter or digit first",
        )
    ),
    Field(json_schema_extra={"pattern": f"^{_NAME}$"}),
]
QueueName = Annotated[
    str,
    AfterValidator(
        matching(
            _QUEUE,
            "a queue's name has up to 63 small letters, digits, dots, dashes and underscores, a letter or digit first",
        )
    ),
    Field(json_schema_extra={"pattern": f"^{_QUEUE}$"}),
]


def _schedule(text: Any) -> Any:
    if isinstance(text, int) and not isinstance(text, bool):
        text = str(text)  # refused as a text without unit: "write 90s"
    if isinstance(text, str):
        try:
            parse_schedule(text, timezone=ZoneInfo("UTC"), anchor=_EPOCH)
        except InvalidInput as error:
            raise ValueError(error.message) from error
    return text


def _as_it_is(value: Any) -> Any:
    """Only the schema needs to know of the short form; the model itself reads it."""
    return value


def _accepted_by(check: Callable[[str], object]) -> AfterValidator:
    """Keep a text as it is if `check` raises no `InvalidInput` over it."""

    def keep(text: str) -> str:
        try:
            check(text)
        except InvalidInput as error:
            raise ValueError(error.message) from error
        return text

    return AfterValidator(keep)


def _short_enough(jitter: timedelta) -> timedelta:
    if jitter > _LONGEST_JITTER:
        raise ValueError(f"{durations.to_text(jitter)} is too long; the most is {durations.to_text(_LONGEST_JITTER)}")
    return jitter


ScheduleText = Annotated[str, BeforeValidator(_schedule)]
Days = Annotated[
    tuple[Annotated[str, _accepted_by(windows.excluded)], ...], Field(strict=False, max_length=_MOST_WINDOWS)
]
Windows = Annotated[
    tuple[Annotated[str, _accepted_by(windows.blackout)], ...], Field(strict=False, max_length=_MOST_WINDOWS)
]
RateText = Annotated[str, _accepted_by(Rate.parse), Field(json_schema_extra={"pattern": rates.PATTERN})]
KeyTemplate = Annotated[str, _accepted_by(concurrency.names)]
Overlap = Literal["allow", "skip", "queue", "replace"]


class JobSpec(Strict):
    """One job. Exactly one of `run`, `steps`, `http`, `call` and `task` says what to do.

    `model_fields_set` tells which keys were given.
    """

    name: Name
    """What the job is called; unique in its project."""
    description: Annotated[str, Field(max_length=10_000)] = ""
    """For people."""

    run: Command | None = None
    """A command for /bin/sh, in a fresh folder."""
    steps: Steps | None = None
    """Named commands, one after the other in one fresh folder, up to the first that fails."""
    http: Annotated[HttpSpec, BeforeValidator(_as_it_is, json_schema_input_type=str | HttpSpec)] | None = None
    """One HTTP request: a URL, or a mapping with a URL and more."""
    call: Call | None = None
    """A Python callable: package.module:function, or a registered name. `params` are its keyword arguments."""
    task: Task | None = None
    """A task of the Celery app. `params` are its keyword arguments."""
    args: Args = ()
    """Positional arguments of a `task`."""

    timezone: TimeZone = "UTC"
    """The IANA time zone that a cron string, and an `at` without an offset, are read in."""
    schedule: ScheduleText | None = None
    """When: a cron string of five fields, or a duration such as 90s or 1h30m. Without `schedule` and `at`,
    the job runs on request only."""
    at: Moment | None = None
    """One moment instead of a schedule, such as 2026-12-01 03:00."""
    run_once: bool = False
    """Only at the next instant of the schedule, and never again."""
    start: Moment | None = None
    """From when on the schedule counts."""
    end: Moment | None = None
    """The moment at which the schedule ends; it is not due then any more."""
    catch_up: Annotated[CatchUp, BeforeValidator(_as_it_is, json_schema_input_type=CatchUpPolicy | CatchUp)] = CatchUp()
    """What was missed while nobody could fire and is made up for: none, the latest, all, or a mapping that says
    more."""
    jitter: Annotated[Duration, AfterValidator(_short_enough)] = timedelta(0)
    """Runs start up to this much later than the schedule says, a job always by the same part of it."""
    exclude: Days = ()
    """Days on which the schedule's runs are skipped: 2026-12-25, 12-25 for every year, 2026-12-24..2027-01-02."""
    blackout: Windows = ()
    """Windows in which the schedule's runs are skipped: 22:00-06:00, sat,sun, mon-fri 09:00-17:00, or
    2026-12-24 18:00..2026-12-27 06:00."""

    queue: QueueName = "default"
    """The queue whose workers may run it."""
    priority: Annotated[int, Field(ge=0, le=9)] = 5
    """Of the runs that wait in a queue, the one with the highest goes first."""
    timeout: Limit = timedelta(hours=1)
    """How long one attempt may take: a duration, or none. Then it is asked to end."""
    grace: Duration = timedelta(seconds=10)
    """How long an attempt that was asked to end may take to do so before it is killed."""
    max_wait: Duration | None = None
    """How long a run may wait in its queue. One that no worker has started by then is given up as timed out."""
    deadline: Duration | None = None
    """How long a whole run may take from the moment it is due, with all its waits and attempts. Then it is ended as
    timed out."""
    retries: Annotated[
        RetryPolicy,
        BeforeValidator(_as_it_is, json_schema_input_type=Annotated[int, Field(ge=0, le=1000)] | RetryPolicy),
    ] = RetryPolicy()
    """What is tried again after a failure: how many attempts may follow the first, or a mapping that says more."""
    on_lost: Literal["retry", "fail"] = "retry"
    """When a worker was lost and nobody knows whether the work took effect: run it again, or fail it."""
    background: Literal["warn", "fail", "ignore"] = "warn"
    """Processes that are still running at the end of a run are killed. Then the run carries a warning (warn), fails
    (fail), or neither (ignore)."""
    env: Environment = Field(default_factory=dict)
    """Environment variables of the commands. Not for secrets: whoever may see the job may see them."""
    params: JsonObject = Field(default_factory=dict)
    """Parameters; a request may give others. Callables and tasks take them as keyword arguments, commands find
    them in JOBSCHED_PARAM_NAME, and all of them as JSON in JOBSCHED_PARAMS and in the file JOBSCHED_PARAMS_FILE."""
    overlap: Overlap | None = None
    """What happens when a run is due while another has not ended: it starts beside it (allow), is skipped, waits
    (queue), or takes its place (replace). Without it, allow; with a concurrency_key, queue."""
    max_running: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """How many of its runs may be running at once, over all workers."""
    concurrency_key: KeyTemplate | None = None
    """A text with parameters between braces, such as customer-{customer}: `overlap` holds for runs of the same
    key instead of all runs of the job."""
    unique: bool = False
    """A request while a run of the same concurrency_key (without one, of the job) waits returns that run."""
    rate: RateText | None = None
    """How many of its runs may start in a second, minute, hour or day, spread evenly: 100/m."""
    paused: bool = False
    """Its schedule is held. When it goes on, `catch_up` says what becomes of what it missed."""

    @model_validator(mode="before")
    @classmethod
    def _can_be_stored(cls, value: Any) -> Any:
        check_storable(value)
        return value

    @field_validator("args")
    @classmethod
    def _only_with_a_task(cls, args: Any, info: ValidationInfo) -> Any:
        if "task" in info.data and info.data["task"] is None:
            raise ValueError("only a task has args; give a callable its params")
        return args

    @field_validator("at")
    @classmethod
    def _once_on_the_clock(cls, at: datetime | None, info: ValidationInfo) -> datetime | None:
        if at is None:
            return at
        if info.data.get("schedule") is not None:
            raise ValueError("a job has a schedule or one moment, not both")
        if (zone := info.data.get("timezone")) is not None:
            check_unambiguous(at, zone)
        return at

    @field_validator("start", "end")
    @classmethod
    def _of_a_schedule(cls, moment: datetime | None, info: ValidationInfo) -> datetime | None:
        if moment is None:
            return moment
        if info.data.get("schedule", "") is None:
            raise ValueError(f"{info.field_name} needs a schedule; only that can begin and end")
        if (zone := info.data.get("timezone")) is not None:
            check_unambiguous(moment, zone)
            start = info.data.get("start")
            if info.field_name == "end" and start is not None and in_utc(moment, zone) <= in_utc(start, zone):
                raise ValueError(f"{moment} is not after the start, {start}")
        return moment

    @field_validator("run_once")
    @classmethod
    def _only_with_a_schedule(cls, run_once: bool, info: ValidationInfo) -> bool:
        unscheduled = all(info.data.get(key, "") is None for key in ("schedule", "at"))
        if run_once and unscheduled:
            raise ValueError("run_once needs a schedule; a job without one runs on request")
        return run_once

    @field_validator("concurrency_key")
    @classmethod
    def _can_be_kept(cls, key: str | None, info: ValidationInfo) -> str | None:
        if key is None:
            return key
        if info.data.get("overlap") == "allow":
            raise ValueError(
                "a concurrency_key keeps runs apart, and overlap: allow does not; leave overlap out, "
                "or write skip, queue or replace"
            )
        scheduled = any(info.data.get(name) is not None for name in ("schedule", "at"))
        if scheduled and "params" in info.data:
            try:
                concurrency.render(key, info.data["params"])
            except InvalidInput as error:
                # A due instant brings no parameters with it, as a request does.
                raise ValueError(error.message.removesuffix(" or with the request")) from error
        return key

    @model_validator(mode="after")
    def _has_one_kind(self) -> JobSpec:
        given = self._given()
        if len(given) != 1:
            found = f"has {' and '.join(given)}" if given else "says nothing to do"
            raise ValueError(f"{found}; give exactly one of {', '.join(KINDS)}")
        return self

    def _given(self) -> list[str]:
        return [key for key in KINDS if getattr(self, key) is not None]

    @property
    def kind(self) -> str:
        """Return the kind by which an executor is found: `shell`, `steps`, `http`, `python` or `celery`."""
        return KINDS[self._given()[0]]

    @property
    def spec(self) -> dict[str, Any]:
        """Return what the executor of the kind reads, as JSON."""
        return self._work().to_spec()

    def _work(self) -> Spec:
        if self.run is not None:
            return ShellSpec(command=self.run)
        if self.steps is not None:
            return StepsSpec(steps=self.steps)
        if self.http is not None:
            return self.http
        if self.call is not None:
            return PythonSpec(call=self.call)
        return CelerySpec(task=self.task or "", args=self.args)

    @property
    def starts_at(self) -> datetime | None:
        """Return when the schedule begins, in UTC; None when it has no `start`."""
        return None if self.start is None else in_utc(self.start, self.timezone)

    @property
    def ends_at(self) -> datetime | None:
        """Return when the schedule ends, in UTC; None when it has no `end`."""
        return None if self.end is None else in_utc(self.end, self.timezone)

    @property
    def effective_overlap(self) -> Overlap:
        """Return the rule that holds when `overlap` may have been left out."""
        return self.overlap or ("allow" if self.concurrency_key is None else "queue")

    @property
    def exclusions(self) -> Exclusions:
        """Return the days and windows in which the schedule's runs are skipped; false when there are none."""
        return Exclusions.of(self.exclude, self.blackout, ZoneInfo(self.timezone))

    def timetable(self, *, anchor: datetime) -> Timetable | None:
        """Return when the job is due, or None for one that runs on request. Intervals count from `anchor`."""
        if self.at is not None:
            return Once(at=in_utc(self.at, self.timezone))
        if self.schedule is not None:
            return parse_schedule(self.schedule, timezone=ZoneInfo(self.timezone), anchor=anchor)
        return None

    def to_manifest(self) -> dict[str, Any]:
        """Return the keys that were given, as plain JSON that reads back as the same job."""
        return self.model_dump(mode="json", exclude_unset=True)
