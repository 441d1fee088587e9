"""A job as a form. It gathers the keys of the YAML format; JobSpec alone says whether they make a job."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import yaml
from celery import current_app
from django import forms
from pydantic import ValidationError

from jobs.admin.differences import as_text
from jobs.admin.fields import CodeField, JsonField, ListField
from jobs.admin.schedule_form import ScheduleForm
from jobs.admin.spec_errors import problems, sentence
from jobs.conf import conf
from jobs.models import Job, Project
from jobs.services import definitions
from jobsched.domain import durations
from jobsched.domain.errors import InvalidInput
from jobsched.domain.retry import RetryPolicy
from jobsched.domain.specs import JobSpec

BESIDE = ("overlap", "concurrency_key", "max_running", "rate", "unique")
AS_THEY_ARE = ("params", "env", "queue", "priority", "on_lost", "background")
"""Keys that the form shows and takes as the format has them."""
KINDS = {
    "shell": "Shell command",
    "steps": "Steps",
    "http": "HTTP request",
    "python": "Python callable",
    "celery": "Celery task",
}
FAILURES = {"failed": "a failure", "timed_out": "an overrun", "lost": "a lost worker"}
STRATEGIES = {"exponential": "it doubles", "linear": "it grows by the first", "fixed": "it stays"}
TIME_LIMITS = ("max_wait", "deadline")
NO_LIMIT = "none"


def registered_tasks() -> list[tuple[str, str]]:
    """The Celery app's own tasks, as choices."""
    current_app.loader.import_default_modules()
    names = sorted(name for name in current_app.tasks if not name.startswith(("celery.", "jobs.")))
    return [("", "— choose a task —"), *((name, name) for name in names)]


def queues() -> list[tuple[str, str]]:
    return [(name, name) for name in conf().queues]


class JobForm(ScheduleForm):
    """Add or change a job. `spec` is the job it describes, once valid."""

    project = forms.ModelChoiceField(Project.objects.all(), empty_label=None)
    name = forms.CharField(max_length=100, widget=forms.TextInput({"size": 40}))
    description = forms.CharField(required=False, widget=forms.Textarea({"rows": 2}))
    paused = forms.BooleanField(
        required=False,
        help_text="Its schedule does not fire; when it goes on, its catch-up rule decides about what was missed. "
        "People can still request it.",
    )

    kind = forms.ChoiceField(label="Kind", choices=list(KINDS.items()), widget=forms.RadioSelect, initial="shell")
    run = CodeField(
        label="Command",
        required=False,
        help_text="A script for /bin/sh. The job succeeds when it ends with exit code 0.",
    )
    steps = CodeField(
        label="Steps",
        required=False,
        rows=12,
        help_text="A YAML list; each step has a name and a command (run), and may have env and timeout. "
        "They share one fresh folder, and the first that fails ends the job.",
        initial="- name: Build\n  run: make\n- name: Test\n  run: make test\n",
    )
    http_url = forms.CharField(label="URL", required=False, max_length=2000, widget=forms.TextInput({"size": 70}))
    http_method = forms.ChoiceField(
        label="Method",
        choices=[(m, m) for m in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")],
        initial="GET",
    )
    http_headers = JsonField(label="Headers", rows=3, help_text='A JSON object: {"Accept": "application/json"}.')
    http_body = CodeField(label="Body", required=False, rows=4)
    http_json = forms.BooleanField(label="The body is JSON", required=False)
    http_expected_status = ListField(
        label="Expected status", number=True, help_text="Such as 200, 204. Empty: any of 200 to 299."
    )
    http_timeout = forms.CharField(
        label="Answer within", required=False, max_length=20, help_text="A duration, such as 10s."
    )
    http_max_bytes = forms.IntegerField(
        label="Read at most", required=False, min_value=1, help_text="Bytes of the answer. Empty: 1 MiB."
    )
    http_follow_redirects = forms.BooleanField(label="Follow redirects", required=False, initial=True)
    call = forms.CharField(
        label="Callable",
        required=False,
        max_length=300,
        widget=forms.TextInput({"size": 60, "class": "js-code", "placeholder": "package.module:function"}),
        help_text="A registered name, or package.module:function of an allowed module. The parameters below are its "
        "keyword arguments.",
    )
    task = forms.ChoiceField(
        label="Task",
        choices=registered_tasks,
        required=False,
        help_text="The parameters below are its keyword arguments.",
    )
    args = JsonField(label="Positional arguments", shape=list, rows=2, help_text="A JSON list.")

    params = JsonField(label="Parameters", help_text="A JSON object. Whoever requests a run may lay others over them.")
    env = JsonField(
        label="Environment",
        help_text="A JSON object of text. No place for secrets: everybody who sees the job reads it.",
    )
    queue = forms.ChoiceField(choices=queues, initial="default")
    priority = forms.IntegerField(min_value=0, max_value=9, initial=5, help_text="0 to 9; 9 goes first.")
    timeout = forms.CharField(
        label="Time limit",
        required=False,
        max_length=20,
        help_text=f"A duration, or {NO_LIMIT}. Empty: the Celery task's own, else one hour.",
    )
    grace = forms.CharField(
        label="Grace",
        required=False,
        max_length=20,
        help_text="How long it may take to clean up when asked to end, such as 10s.",
    )
    max_wait = forms.CharField(
        label="Longest wait",
        required=False,
        max_length=20,
        help_text="In its queue. A run that has not begun by then is given up. Empty: as long as it takes.",
    )
    deadline = forms.CharField(
        label="Deadline",
        required=False,
        max_length=20,
        help_text="For the whole run, all waits and attempts, counted from when it was due. Empty: none.",
    )
    retries_max = forms.IntegerField(
        label="Retries",
        required=False,
        min_value=0,
        max_value=1000,
        help_text="After the first attempt. Empty: the Celery task's own, else none.",
    )
    retries_backoff = forms.CharField(
        label="First backoff", required=False, max_length=20, help_text="Before the second attempt, such as 10s."
    )
    retries_max_backoff = forms.CharField(
        label="Longest backoff", required=False, max_length=20, help_text="Such as 1h."
    )
    retries_strategy = forms.ChoiceField(
        label="Then",
        required=False,
        choices=list(STRATEGIES.items()),
        help_text="How the backoff grows with each attempt, up to the longest.",
    )
    retries_jitter = forms.TypedChoiceField(
        label="Jitter",
        required=False,
        coerce=lambda value: value == "yes",
        empty_value=None,
        choices=[("", "if it doubles"), ("yes", "yes"), ("no", "no")],
        help_text="Wait a random part of the backoff, so that what failed together does not come back together.",
    )
    retries_failures = forms.MultipleChoiceField(
        label="After",
        required=False,
        choices=list(FAILURES.items()),
        initial=list(FAILURES),
        widget=forms.CheckboxSelectMultiple,
    )
    retries_exit_codes = ListField(label="Only exit codes", number=True, help_text="Empty: any.")
    retries_exceptions = ListField(label="Only exceptions", help_text="Class names. Empty: any.")
    retries_statuses = ListField(label="Only HTTP statuses", number=True, help_text="Empty: any.")
    on_lost = forms.ChoiceField(label="When its worker is lost", choices=Job.OnLost.choices, initial=Job.OnLost.RETRY)
    background = forms.ChoiceField(
        label="Processes still running at its end", choices=Job.Background.choices, initial=Job.Background.WARN
    )

    overlap = forms.ChoiceField(
        label="While another runs",
        required=False,
        choices=[("", "Run beside it; with a concurrency key, wait"), *Job.Overlap.choices],
        help_text="What becomes of a run that is due or requested while another has not ended.",
    )
    concurrency_key = forms.CharField(
        label="Concurrency key",
        required=False,
        max_length=200,
        widget=forms.TextInput({"size": 40, "class": "js-code", "placeholder": "customer-{customer}"}),
        help_text="A text with parameters. Only runs of the same key count as another.",
    )
    max_running = forms.IntegerField(
        label="At most at once", required=False, help_text="Of its runs, over all workers. Empty: any number."
    )
    rate = forms.CharField(
        label="Rate",
        required=False,
        max_length=20,
        widget=forms.TextInput({"size": 12, "placeholder": "100/m"}),
        help_text="Starts in a second, minute, hour or day (s, m, h, d), spread evenly. Empty: any.",
    )
    unique = forms.BooleanField(
        label="Unique", required=False, help_text="While one of the same key waits, another request gets that one."
    )

    def __init__(
        self,
        data: Any = None,
        files: Any = None,
        *,
        instance: Job | None = None,
        initial: dict[str, Any] | None = None,
        refusal: InvalidInput | None = None,
    ) -> None:
        self.instance = instance or Job()
        self.refusal = refusal
        self.spec: JobSpec | None = None
        shown = initial_of(instance) if instance and instance.pk else dict(initial or {})
        super().__init__(data, files, initial=shown)
        if instance and instance.pk:
            for name in ("project", "name"):
                self.fields[name].disabled = True
            self._offer("queue", instance.queue)
            self._offer("task", shown.get("task", ""))
        elif default := Project.objects.filter(name="default").first():
            self.fields["project"].initial = default.pk

    def _offer(self, field: str, value: str) -> None:
        """Keep what the job says choosable, also when a setting or the app no longer knows it."""
        choices = list(self.fields[field].choices)  # type: ignore[attr-defined]
        if value and value not in dict(choices):
            self.fields[field].choices = [*choices, (value, f"{value} (not known here)")]  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        data = super().clean()
        name, project = data.get("name"), data.get("project")
        if self.instance.pk is None and Job.objects.current().filter(project=project, name=name).exists():
            self.add_error("name", f"Project '{project}' has a job of this name already; open that one to change it.")
        keys = {} if self.errors else {**self._plain(), **self._work(), **self.schedule_keys()}
        if self.errors:
            return data
        try:
            self.spec = JobSpec.model_validate(keys)
        except ValidationError as error:
            for loc, message in problems(error):
                self._place(loc, message)
        except InvalidInput as error:
            self._refused(error)
        if self.refusal is not None and not self.errors:
            self._refused(self.refusal)
        return data

    def _plain(self) -> dict[str, Any]:
        data = self.cleaned_data
        keys = {name: data[name] for name in ("name", "description", "paused", *AS_THEY_ARE)}
        keys |= {name: data[name] for name in BESIDE if data[name] not in (None, "")}
        if data["timeout"]:
            keys["timeout"] = None if data["timeout"] == NO_LIMIT else data["timeout"]
        keys |= {name: data[name] for name in ("grace", *TIME_LIMITS) if data[name]}
        if retries := self._retries():
            keys["retries"] = retries
        return keys

    def _retries(self) -> dict[str, Any]:
        """What is said of retries: nothing at all unless their number is."""
        names = ("max", "backoff", "max_backoff", "jitter", "exit_codes", "exceptions", "statuses")
        said = {name: self.cleaned_data[f"retries_{name}"] for name in names}
        said = {name: value for name, value in said.items() if value not in (None, "", [])}
        if (strategy := self.cleaned_data["retries_strategy"]) not in ("", "exponential"):
            said["strategy"] = strategy
        failures = self.cleaned_data["retries_failures"]
        if set(failures) != set(FAILURES):
            said["failures"] = failures
        if said and "max" not in said:
            self.add_error("retries_max", "Say how many, or leave the fields below as they were.")
        return said

    def _work(self) -> dict[str, Any]:
        data = self.cleaned_data
        match data.get("kind"):
            case "shell":
                return {"run": self._given("run", "Write the command.")}
            case "steps":
                return {"steps": self._steps()}
            case "http":
                return {"http": self._http()}
            case "python":
                return {"call": self._given("call", "Name the callable.")}
            case "celery":
                task = self._given("task", "Choose a task.")
                return {"task": task, **({"args": data["args"]} if data.get("args") else {})}
            case _:
                return {}

    def _given(self, field: str, complaint: str) -> str:
        value = str(self.cleaned_data.get(field) or "")
        if not value.strip() and field not in self.errors:
            self.add_error(field, complaint)
        return value

    def _steps(self) -> Any:
        try:
            found = yaml.load(self._given("steps", "Write at least one step."), Loader=_PlainLoader)  # noqa: S506 - a SafeLoader
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            place = f" in line {mark.line + 1}" if mark else ""
            self.add_error("steps", f"This is not YAML{place}: {error.problem}.")
            return []
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            self.add_error("steps", f"This is not YAML: {error}.")
            return []
        if not isinstance(found, list) and "steps" not in self.errors:
            self.add_error("steps", "This must be a list: each step begins with a dash.")
        return found

    def _http(self) -> dict[str, Any]:
        data = self.cleaned_data
        said = {"url": self._given("http_url", "Give the URL."), "method": data.get("http_method")}
        names = ("headers", "body", "expected_status", "timeout", "max_bytes")
        said |= {name: data.get(f"http_{name}") for name in names}
        if data.get("http_json") and "http_body" in data:
            said["body"] = self._body()
        said = {name: value for name, value in said.items() if value not in (None, "", [], {})}
        return {**said, "follow_redirects": data.get("http_follow_redirects", False)}

    def _body(self) -> Any:
        try:
            return json.loads(self.cleaned_data["http_body"])
        except (ValueError, RecursionError) as error:
            self.add_error("http_body", f"This is not JSON: {error}.")
            return None

    def _place(self, loc: tuple[str | int, ...], message: str) -> None:
        """Put a problem of the spec beside the field that holds its key."""
        key, *rest = [str(part) for part in loc] or [""]
        field, inner = key, rest
        if key in ("http", "retries", "catch_up") and rest:
            field, inner = f"{key}_{rest[0]}", rest[1:]
        elif key == "schedule":
            field = self.cleaned_data.get("when", "cron")
        if field not in self.fields:
            field, inner = {"http": "http_url", "retries": "retries_max", "catch_up": "catch_up"}.get(key, ""), rest
        where = _inside(inner)
        self.add_error(field or None, f"{where}: {message}" if where else message)

    def _refused(self, error: InvalidInput) -> None:
        key = re.search(r"key '(\w+)", error.where)
        self._place((key[1],) if key else (), sentence(error.message))

    # What ModelAdmin asks of a form.

    def save(self, commit: bool = False) -> Job:
        """Return the job as the admin knows it. Writing it is the service's part: see JobAdmin.save_model."""
        if self.instance.pk is None:
            self.instance.project, self.instance.name = self.cleaned_data["project"], self.cleaned_data["name"]
        return self.instance

    def save_m2m(self) -> None:
        """A job has no many-to-many rows."""


def initial_of(job: Job) -> dict[str, Any]:
    """Return what the form shows for a saved job."""
    manifest = definitions.manifest(job)
    shown: dict[str, Any] = {
        name: getattr(job, name) for name in ("name", "description", "paused", "kind", *AS_THEY_ARE)
    }
    shown |= {"project": job.project_id, **ScheduleForm.initial_from(manifest)}
    shown["timeout"] = NO_LIMIT if job.timeout is None else durations.to_text(job.timeout)
    shown["grace"] = durations.to_text(job.grace)
    limits = {name: getattr(job, name) for name in TIME_LIMITS}
    shown |= {name: durations.to_text(length) for name, length in limits.items() if length is not None}
    shown |= {key: manifest[key] for key in ("run", "call", "task", "args") if key in manifest}
    shown |= {name: manifest[name] for name in BESIDE if name in manifest}
    if "steps" in manifest:
        shown["steps"] = as_text(manifest["steps"], sort=False)
    if "http" in manifest:
        shown |= _http_shown(manifest["http"])
    if job.retries and not job.spec.get("own_retries"):
        shown |= _retries_shown(RetryPolicy.model_validate(job.retries))
    return shown


def _http_shown(http: Any) -> dict[str, Any]:
    said: dict[str, Any] = dict(http) if isinstance(http, dict) else {"url": http}
    body = said.get("body")
    if body is not None and not isinstance(body, str):
        said |= {"body": json.dumps(body, indent=2, ensure_ascii=False), "json": True}
    if isinstance(said.get("expected_status"), int):
        said["expected_status"] = [said["expected_status"]]
    return {f"http_{name}": value for name, value in said.items()}


def _retries_shown(policy: RetryPolicy) -> dict[str, Any]:
    return {
        "retries_max": policy.max,
        "retries_backoff": durations.to_text(policy.backoff),
        "retries_max_backoff": durations.to_text(policy.max_backoff),
        "retries_strategy": policy.strategy,
        "retries_jitter": {True: "yes", False: "no", None: ""}[policy.jitter],
        "retries_failures": [str(failure) for failure in policy.failures],
        "retries_exit_codes": list(policy.exit_codes or []),
        "retries_exceptions": list(policy.exceptions or []),
        "retries_statuses": list(policy.statuses or []),
    }


def _inside(path: Iterable[str]) -> str:
    """Say where inside a field: `step 2, run`."""
    return ", ".join(f"entry {int(part) + 1}" if part.isdigit() else part for part in path)


class _PlainLoader(yaml.SafeLoader):
    """No aliases: a few lines of them can stand for gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("anchors and aliases are not taken here; write the value out")
        return super().compose_node(parent, index)
