"""A job as users describe it: the one source of truth for the YAML format, REST and the admin's forms."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from jobsched.domain.errors import InvalidInput
from jobsched.domain.fieldtypes import (
    Command,
    Duration,
    Environment,
    JsonObject,
    Limit,
    Strict,
    check_storable,
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
from jobsched.domain.nearest import did_you_mean
from jobsched.domain.retry import RetryPolicy
from jobsched.domain.timetables import Once, Timetable, parse_schedule

__all__ = ["KINDS", "SPECS", "JobSpec"]

KINDS: Final = {"run": "shell", "steps": "steps", "http": "http", "call": "python", "task": "celery"}
"""The kind that each of the five keys that say what to do stands for."""

_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d[ Tt]\d\d:\d\d(:\d\d)?\s*(Z|z|[+-]\d\d:?\d\d)?", re.ASCII)
_LATEST_YEAR: Final = 9998  # the last one that fits into a datetime in every zone
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

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


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones() - {"localtime", "Factory"})


def _zone(name: str) -> str:
    if name not in _zones():
        nearest = did_you_mean(name, _zones())
        raise ValueError(f"{name!r:.80} is not a time zone{nearest or ', such as UTC or Europe/Berlin'}")
    return name


def _schedule(text: Any) -> Any:
    if isinstance(text, int) and not isinstance(text, bool):
        text = str(text)  # refused as a text without unit: "write 90s"
    if isinstance(text, str):
        try:
            parse_schedule(text, timezone=ZoneInfo("UTC"), anchor=_EPOCH)
        except InvalidInput as error:
            raise ValueError(error.message) from error
    return text


def _at(value: Any) -> Any:
    if isinstance(value, str):
        if not _MOMENT.fullmatch(value.strip()):
            raise ValueError(f"{value!r:.80} is not a moment; write a date and a time, such as 2026-12-01 03:00")
        try:
            value = datetime.fromisoformat(re.sub(r"\s+(?=[Zz+-]\S*$)", "", value.strip()).upper())
        except ValueError as error:
            raise ValueError(f"{value!r} is not a moment: {error}") from error
    if isinstance(value, datetime) and not 1970 <= value.year <= _LATEST_YEAR:
        raise ValueError(f"{value.isoformat(sep=' ')} is outside the years 1970 to {_LATEST_YEAR}")
    return value


def _as_it_is(value: Any) -> Any:
    """Only the schema needs to know of the short form; the model itself reads it."""
    return value


TimeZone = Annotated[str, AfterValidator(_zone)]
ScheduleText = Annotated[str, BeforeValidator(_schedule)]
Moment = Annotated[
    datetime,
    BeforeValidator(_at),
    PlainSerializer(lambda at: at.isoformat(sep=" "), return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": f"^{_MOMENT.pattern}$"}),
]


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

    queue: QueueName = "default"
    """The queue whose workers may run it."""
    priority: Annotated[int, Field(ge=0, le=9)] = 5
    """Of the runs that wait in a queue, the one with the highest goes first."""
    timeout: Limit = timedelta(hours=1)
    """How long one attempt may take: a duration, or none. Then it is asked to end."""
    grace: Duration = timedelta(seconds=10)
    """How long an attempt that was asked to end may take to do so before it is killed."""
    retries: Annotated[
        RetryPolicy,
        BeforeValidator(_as_it_is, json_schema_input_type=Annotated[int, Field(ge=0, le=1000)] | RetryPolicy),
    ] = RetryPolicy()
    """What is tried again after a failure: how many attempts may follow the first, or a mapping that says more."""
    on_lost: Literal["retry", "fail"] = "retry"
    """When a worker was lost and nobody knows whether the work took effect: run it again, or fail it."""
    env: Environment = Field(default_factory=dict)
    """Environment variables of the commands. Not for secrets: whoever may see the job may see them."""
    params: JsonObject = Field(default_factory=dict)
    """Parameters; a request may give others. Callables and tasks take them as keyword arguments, commands find
    them in JOBSCHED_PARAM_NAME and as JSON in JOBSCHED_PARAMS."""
    paused: bool = False
    """Its schedule goes on, and its runs are skipped."""

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
        if at.tzinfo is None and (zone := info.data.get("timezone")) is not None:
            first, second = (at.replace(tzinfo=ZoneInfo(zone), fold=fold) for fold in (0, 1))
            if first.utcoffset() != second.utcoffset():
                skipped = first.astimezone(UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None) != at
                how = "does not exist" if skipped else "comes twice"
                raise ValueError(
                    f"{at} {how} in {zone}, where clocks change; add an offset, such as {first.isoformat()}"
                )
        return at

    @field_validator("run_once")
    @classmethod
    def _only_with_a_schedule(cls, run_once: bool, info: ValidationInfo) -> bool:
        unscheduled = all(info.data.get(key, "") is None for key in ("schedule", "at"))
        if run_once and unscheduled:
            raise ValueError("run_once needs a schedule; a job without one runs on request")
        return run_once

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

    def timetable(self, *, anchor: datetime) -> Timetable | None:
        """Return when the job is due, or None for one that runs on request. Intervals count from `anchor`."""
        zone = ZoneInfo(self.timezone)
        if self.at is not None:
            return Once(at=(self.at if self.at.tzinfo else self.at.replace(tzinfo=zone)).astimezone(UTC))
        if self.schedule is not None:
            return parse_schedule(self.schedule, timezone=zone, anchor=anchor)
        return None

    def to_manifest(self) -> dict[str, Any]:
        """Return the keys that were given, as plain JSON that reads back as the same job."""
        return self.model_dump(mode="json", exclude_unset=True)
