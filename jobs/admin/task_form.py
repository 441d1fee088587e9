"""django-celery-beat's form of a periodic task, with the policies that our row beside it keeps."""

from __future__ import annotations

from typing import Any

from django import forms
from django_celery_beat.admin import PeriodicTaskForm
from pydantic import ValidationError

from jobs.admin.policy_form import POLICY_FIELDS, PolicyForm
from jobs.admin.schedule_form import zones
from jobs.admin.spec_errors import problems
from jobs.models import Schedule
from jobsched.domain import durations
from jobsched.domain.specs import JobSpec

POLICIES = (*POLICY_FIELDS, "exclusions_zone")
_COLUMNS = dict.fromkeys(("exclude", "blackout", "exclusions_zone"), "exclusions")


class TaskForm(PeriodicTaskForm, PolicyForm):  # type: ignore[misc]  # theirs has no types
    """Theirs as it is; JobSpec judges the policies. `policies` are the columns of our row, once valid."""

    exclusions_zone = forms.ChoiceField(
        label="Time zone", choices=zones, initial="UTC", required=False, help_text="Of what is excluded."
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        task = kwargs.get("instance")
        beside = Schedule.objects.filter(pk=task.pk).first() if task and task.pk else None
        kwargs["initial"] = {**(shown_policies(beside) if beside else {}), **(kwargs.get("initial") or {})}
        super().__init__(*args, **kwargs)
        self.policies: dict[str, Any] = {}

    def clean(self) -> dict[str, Any]:
        super().clean()
        if any(name in self.errors for name in POLICIES):
            return self.cleaned_data
        keys = {**self.policy_keys(), "timezone": self.cleaned_data.get("exclusions_zone") or "UTC"}
        try:
            spec = JobSpec.model_validate({"name": "task", "run": "true", "schedule": "1h", **keys})
        except ValidationError as error:
            for (key, *inner), message in problems(error):
                self._place(str(key), inner, message)
            return self.cleaned_data
        self.policies = {
            "catch_up": spec.catch_up.policy,
            "catch_up_window": spec.catch_up.window,
            "catch_up_limit": spec.catch_up.limit,
            "jitter": spec.jitter,
            "exclusions": {"exclude": list(spec.exclude), "blackout": list(spec.blackout), "timezone": spec.timezone}
            if spec.exclude or spec.blackout
            else None,
        }
        return self.cleaned_data

    def _place(self, key: str, inner: list[str | int], message: str) -> None:
        first = inner[0] if inner else None
        if isinstance(first, int):
            message = f"entry {first + 1}: {message}"
        self.add_error(f"{key}_{first}" if f"{key}_{first}" in self.fields else key, message)

    def save_policies(self) -> None:
        """Write what changed of our row, and nothing else of it: beats work on the rest. The task must be saved."""
        changed = {_COLUMNS.get(name, name) for name in POLICIES if name in self.changed_data}
        if changed:
            Schedule.objects.filter(pk=self.instance.pk).update(**{name: self.policies[name] for name in changed})


def shown_policies(beside: Schedule) -> dict[str, Any]:
    """Return the policies of a row as the fields of the form show them."""
    exclusions = beside.exclusions or {}
    return {
        "catch_up": beside.catch_up,
        "catch_up_window": durations.to_text(beside.catch_up_window),
        "catch_up_limit": beside.catch_up_limit,
        "jitter": durations.to_text(beside.jitter) if beside.jitter else "",
        "exclude": exclusions.get("exclude", []),
        "blackout": exclusions.get("blackout", []),
        "exclusions_zone": exclusions.get("timezone", "UTC"),
    }
