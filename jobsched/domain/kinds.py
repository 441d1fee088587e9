"""What there is to do, one model a kind: each reads what users write and gives what executors read."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, StringConstraints, model_validator

from jobsched.domain import parameters
from jobsched.domain.errors import InvalidInput
from jobsched.domain.fieldtypes import (
    Command,
    Environment,
    JsonValue,
    PositiveDuration,
    Status,
    Strict,
    TextOrNumber,
)
from jobsched.domain.urltemplate import expand

MIB: Final = 1024 * 1024
LONGEST_URL: Final = 4000

# What executors read names its unit; users need not.
_TIMEOUT: Final = AliasChoices("timeout", "timeout_seconds")
_METHODS = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_CALL: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_REGISTERED: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


class ShellSpec(Strict):
    """One command, run by /bin/sh in a fresh folder."""

    command: Command

    def to_spec(self) -> dict[str, Any]:
        """Return the JSON that the executor reads."""
        return {"command": self.command}


class Step(Strict):
    """One named command of a list."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=100, strip_whitespace=True)]
    """What the step is called in the run's output; unique in its job."""
    run: Command
    """The command, run by /bin/sh in the folder that all steps of a run share."""
    env: Environment = Field(default_factory=dict)
    """Environment variables of this step, beside those of the job."""
    timeout: Annotated[PositiveDuration | None, Field(validation_alias=_TIMEOUT)] = None
    """The step's own time limit, within that of the job."""

    def to_spec(self) -> dict[str, Any]:
        """Return the JSON that the executor reads."""
        spec: dict[str, Any] = {"name": self.name, "run": self.run}
        if self.env:
            spec["env"] = dict(self.env)
        if self.timeout is not None:
            spec["timeout_seconds"] = self.timeout.total_seconds()
        return spec


def _unique_names(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    seen: set[str] = set()
    for step in steps:
        if step.name in seen:
            raise ValueError(f"two steps are named {step.name!r}; give each a name of its own")
        seen.add(step.name)
    return steps


Steps = Annotated[tuple[Step, ...], Field(strict=False, min_length=1, max_length=1000), AfterValidator(_unique_names)]


class StepsSpec(Strict):
    """Named commands, one after the other in one fresh folder, up to the first that fails."""

    steps: Steps

    def to_spec(self) -> dict[str, Any]:
        """Return the JSON that the executor reads."""
        return {"steps": [step.to_spec() for step in self.steps]}


def _url(url: str) -> str:
    # The URL itself is in no message: it may carry a password.
    if len(url) > LONGEST_URL:
        raise ValueError(f"a URL has at most {LONGEST_URL} characters, this one {len(url)}")
    try:
        filled = expand(url, None)
    except InvalidInput as error:
        raise ValueError(error.message) from error
    if not filled.isprintable() or " " in filled:
        raise ValueError("the URL holds a space or control character; write %20 for a space")
    try:
        parts = urlsplit(filled)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits:
        raise ValueError("this is not a URL of http or https, such as https://example.com/health")
    return url


def _headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"{name!r} cannot name a header; use letters, digits and dashes")
        if not value.isprintable():
            raise ValueError(f"the value of header {name!r} holds a line break or another control character")
    return headers


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, int) and not isinstance(value, bool) else value


class HttpSpec(Strict):
    """One HTTP request, judged by the status of its answer."""

    url: Annotated[str, AfterValidator(_url), Field(json_schema_extra={"pattern": "^https?://"})]
    """Where to, by http or https. ${params.NAME} stands for a parameter of the run."""
    method: _METHODS = "GET"
    """In capitals."""
    headers: Annotated[dict[str, TextOrNumber], AfterValidator(_headers)] = Field(default_factory=dict)
    """Sent with the request. Not for secrets: whoever may see the job may see them."""
    body: JsonValue = None
    """Sent as it is when it is text, else as JSON."""
    expected_status: (
        Annotated[
            tuple[Status, ...],
            Field(strict=False, min_length=1),
            BeforeValidator(_listed, json_schema_input_type=Status | list[Status]),
        ]
        | None
    ) = None
    """The statuses that mean success; 200 to 299 unless said otherwise."""
    timeout: Annotated[PositiveDuration, Field(validation_alias=_TIMEOUT)] = timedelta(seconds=30)
    """For the whole request, redirects and body included."""
    max_bytes: Annotated[int, Field(ge=1, le=100 * MIB)] = MIB
    """How much of the answer is read, in bytes."""
    follow_redirects: bool = True
    """Whether the answer to judge is the one that redirects lead to."""

    @model_validator(mode="before")
    @classmethod
    def _text_is_the_url(cls, value: Any) -> Any:
        return {"url": value} if isinstance(value, str) else value

    def to_spec(self) -> dict[str, Any]:
        """Return the JSON that the executor reads."""
        spec: dict[str, Any] = {
            "url": self.url,
            "method": self.method,
            "headers": dict(self.headers),
            "timeout_seconds": self.timeout.total_seconds(),
            "max_bytes": self.max_bytes,
            "follow_redirects": self.follow_redirects,
        }
        if self.body is not None:
            spec["body"] = self.body
        if self.expected_status is not None:
            spec["expected_status"] = list(self.expected_status)
        return spec


def _call(call: str) -> str:
    if not (_CALL if ":" in call else _REGISTERED).fullmatch(call):
        raise ValueError(f"{call!r} is neither package.module:function nor the name of a registered callable")
    return call


Call = Annotated[str, StringConstraints(max_length=500), AfterValidator(_call)]


class PythonSpec(Strict):
    """A Python callable; the run's parameters are its keyword arguments."""

    call: Call

    def to_spec(self) -> dict[str, Any]:
        """Return the JSON that the executor reads."""
        return {"call": self.call}


def _task(task: str) -> str:
    if not task or task != "".join(task.split()):
        raise ValueError(f"{task!r} cannot name a Celery task; write its full name, such as shop.tasks.remind")
    return task


# django-celery-beat keeps no more of a task's name.
Task = Annotated[str, StringConstraints(max_length=200), AfterValidator(_task)]


def _small_enough(args: tuple[Any, ...]) -> tuple[Any, ...]:
    parameters.check(args)
    return args


Args = Annotated[tuple[JsonValue, ...], Field(strict=False), AfterValidator(_small_enough)]


class CelerySpec(Strict):
    """A task of the Celery app; the run's parameters are its keyword arguments."""

    task: Task
    args: Args = ()
    own_retries: bool = False
    """The task's `autoretry_for` and `self.retry()` alone decide what is tried again."""

    def to_spec(self) -> dict[str, Any]:
        """Return the JSON that the executor reads."""
        spec: dict[str, Any] = {"task": self.task, "args": list(self.args)}
        if self.own_retries:
            spec["own_retries"] = True
        return spec


Spec = ShellSpec | StepsSpec | HttpSpec | PythonSpec | CelerySpec

SPECS: Final[dict[str, type[Spec]]] = {
    "shell": ShellSpec,
    "steps": StepsSpec,
    "http": HttpSpec,
    "python": PythonSpec,
    "celery": CelerySpec,
}
