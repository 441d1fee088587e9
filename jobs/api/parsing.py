"""What a request says, as typed values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from io import BytesIO
from typing import IO, Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError
from rest_framework import status
from rest_framework.exceptions import APIException
from rest_framework.parsers import BaseParser, JSONParser
from rest_framework.request import Request

from jobs.models import Run
from jobs.models.runfilter import RunFilter
from jobs.services import bulk
from jobsched.domain import durations, signals
from jobsched.domain.errors import InvalidInput
from jobsched.domain.states import State

LONGEST_BODY = 1024 * 1024
"""In bytes. JSON may need six bytes for each byte of the largest parameters."""
LONGEST_BODY_OF_JOBS = 8 * 1024 * 1024
"""In bytes. A file of jobs may hold 1 MiB, and JSON may need six bytes for a character of it."""
LARGEST_ID = 2**63 - 1
EARLIEST, LATEST = (datetime(year, 1, 1, tzinfo=UTC) for year in (1970, 9998))
"""What fits into a datetime in every zone, with room to reckon."""

Word = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]


class TooLong(APIException):
    """The body of a request is longer than this address takes."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE


class BoundedJSONParser(BaseParser):
    """JSON of bounded size and depth: that of the view's `longest_body`. Raises TooLong and InvalidInput."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        context = parser_context or {}
        longest = getattr(context.get("view"), "longest_body", LONGEST_BODY)
        # Read only as far as needed, and not at all where the client says that it is too much.
        if _announced(context.get("request")) > longest or len(body := stream.read(longest + 1)) > longest:
            raise TooLong(f"The body of the request is longer than {longest} bytes; send less at once.")
        try:
            return JSONParser().parse(BytesIO(body), media_type, parser_context)
        except RecursionError:
            raise InvalidInput("The request's JSON is nested too deeply.") from None


def _announced(request: Request | None) -> int:
    """Return the length of the body that its header gives, 0 when it gives none."""
    text = request.META.get("CONTENT_LENGTH", "") if request is not None else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


class Asked(BaseModel):
    """Base of what a request may say: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class JobsQuery(Asked):
    project: Word | None = None
    after: Word | None = None
    limit: int = Field(default=200, ge=1, le=1000)


class JobQuery(Asked):
    project: Word = "default"


class PreviewQuery(Asked):
    count: int = Field(default=5, ge=1, le=100)


class NextQuery(PreviewQuery, JobQuery):
    pass


class Period(Asked):
    """From one moment to another, both included."""

    start: AwareDatetime = Field(alias="from", ge=EARLIEST, le=LATEST)
    end: AwareDatetime = Field(alias="to", ge=EARLIEST, le=LATEST)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.start > self.end:
            raise PydanticCustomError("order", "'to' lies before 'from'; exchange them")
        return self


class FiresQuery(Period, JobQuery):
    pass


class UpcomingQuery(Asked):
    hours: int = Field(default=24, ge=1, le=366 * 24)
    limit: int = Field(default=100, ge=1, le=1000)
    of_each: int = Field(default=5, ge=1, le=1000)
    project: Word | None = None


def _listed(value: Any) -> Any:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _text_of_number(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class RunsAsked(Asked):
    """Which runs are meant. States are a list, or text with commas; `since` is a duration, up to now."""

    project: Word | None = None
    job: Word | None = None
    state: Annotated[frozenset[State], BeforeValidator(_listed), Field(min_length=1)] | None = None
    queue: Word | None = None
    reason: Word | None = None
    exit_code: int | None = Field(default=None, ge=-(2**31), le=2**31 - 1)
    signal: Annotated[Word, BeforeValidator(_text_of_number)] | None = None
    error: Word | None = None
    worker: Word | None = None
    trigger: Run.Trigger | None = None
    retried: bool | None = None
    start: AwareDatetime | None = Field(default=None, alias="from", ge=EARLIEST, le=LATEST)
    end: AwareDatetime | None = Field(default=None, alias="to", ge=EARLIEST, le=LATEST)
    since: Word | None = None
    by: Literal["created", "finished"] = "created"

    @model_validator(mode="after")
    def _one_beginning(self) -> Self:
        if self.since is not None and self.start is not None:
            raise PydanticCustomError("order", "'since' and 'from' both say where to begin; leave one out")
        return self

    def filter(self) -> RunFilter:
        """Return what is asked for. Raises InvalidInput when `since` is not a duration, or `signal` not a signal."""
        since = None if self.since is None else datetime.now(UTC) - durations.parse(self.since)
        return RunFilter(
            project=self.project,
            job=self.job,
            states=self.state or frozenset(),
            queue=self.queue,
            reason=self.reason,
            exit_code=self.exit_code,
            signal=None if self.signal is None else signals.parse(self.signal),
            error=self.error,
            worker=self.worker,
            trigger=self.trigger,
            retried=self.retried,
            start=since or self.start,
            end=self.end,
            by=self.by,
        )


class RunsQuery(RunsAsked):
    before: int | None = Field(default=None, ge=1, le=LARGEST_ID)
    limit: int = Field(default=50, ge=1, le=500)


class ManyRuns(RunsAsked):
    """A request that concerns all runs of a kind."""

    before: int | None = Field(default=None, ge=1, le=LARGEST_ID, strict=True)
    limit: int = Field(default=bulk.AT_ONCE, ge=1, le=bulk.AT_ONCE, strict=True)
    dry_run: bool = Field(default=False, strict=True)


class ManyRetries(ManyRuns):
    definition: Literal["then", "now"] = "then"


class OneRetry(Asked):
    definition: Literal["then", "now"] = "then"


class OutputQuery(Asked):
    attempt: int | None = Field(default=None, ge=1, le=2**31 - 1)
    offset: int = Field(default=0, ge=0, le=LARGEST_ID)


class Nothing(Asked):
    """For requests whose address says it all."""


class File(Asked):
    source: str
    filename: Word = "jobs.yaml"


class Order(Asked):
    """A request of a run; with `count`, of that many."""

    params: dict[str, Any] | None = None
    priority: int | None = Field(default=None, ge=0, le=9, strict=True)
    at: AwareDatetime | None = None
    count: int | None = Field(default=None, ge=1, le=1000, strict=True)


class Past(Period):
    """A request of runs for instants of a job's past."""

    max_running: int | None = Field(default=None, ge=1, le=10_000, strict=True)
    dry_run: bool = Field(default=False, strict=True)


class Limit(Asked):
    """How fast runs of a queue may start; null takes the limit away."""

    rate: str | None


M = TypeVar("M", bound=Asked)


def query(request: Request, model: type[M]) -> M:
    """Read the part of the address behind the question mark. Raises InvalidInput."""
    return _read(model, request.query_params.dict(), "the address")


def body(request: Request, model: type[M]) -> M:
    """Read the body; none at all counts as an empty one. Raises InvalidInput."""
    return _read(model, mapping(request), "the request")


def mapping(request: Request) -> dict[str, Any]:
    """Return the body, which must be a JSON object. Raises InvalidInput."""
    data = request.data
    if not isinstance(data, Mapping):
        raise InvalidInput('The body must be a JSON object, for instance {"priority": 9}.')
    return dict(data)


def idempotency_key(request: Request) -> str | None:
    """Return the header by which a client names a request that it may send again. Raises InvalidInput."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and not (0 < len(key) <= 200 and key.isascii() and key.isprintable()):
        raise InvalidInput("must be 1 to 200 printable ASCII characters", where="the header Idempotency-Key")
    return key


def project_of(data: dict[str, Any], *, default: str) -> str:
    """Return the project that a job in a body names. Raises InvalidInput."""
    return _read(JobQuery, {"project": data.get("project", default)}, "the request").project


def _read(model: type[M], data: Mapping[str, Any], place: str) -> M:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise InvalidInput("; ".join(_sentence(model, e) for e in error.errors()), where=place) from None


def _sentence(model: type[Asked], problem: Any) -> str:
    key = ".".join(part for part in problem["loc"] if isinstance(part, str))
    if problem["type"] == "extra_forbidden":
        known = ", ".join(field.alias or name for name, field in model.model_fields.items()) or "none"
        return f"there is no key '{key}' (known: {known})"
    if problem["type"] == "missing":
        return f"the key '{key}' is missing"
    if problem["type"] == "timezone_aware":
        return f"'{key}' must name its time zone, for instance 2026-12-01T03:00:00Z"
    if problem["type"] == "order":
        return str(problem["msg"])
    given = json.dumps(problem["input"], default=str)
    message = problem["msg"][0].lower() + problem["msg"][1:]
    return f"'{key}': {message}, got {given if len(given) <= 80 else given[:80] + '…'}"
