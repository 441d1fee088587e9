"""Run now: what is asked before, and the request itself."""

from __future__ import annotations

from collections.abc import Iterable

from django import forms
from django.db import transaction

from jobs.admin.fields import JsonField
from jobs.models import Job, Run
from jobs.services import control


class RunNowForm(forms.Form):
    """What a person may say about a run: parameters laid over the job's own, and a priority of its own."""

    params = JsonField(
        label="Parameters", rows=6, help_text="A JSON object, laid over the job's own parameters. Empty: the job's own."
    )
    priority = forms.TypedChoiceField(
        required=False,
        coerce=int,
        empty_value=None,
        choices=[("", "the job's own"), *((n, f"{n}{' (first)' if n == 9 else ''}") for n in range(9, -1, -1))],
    )


def request_runs(chosen: Iterable[Job], form: RunNowForm, *, actor: str) -> list[Run]:
    """Request a run of each job, all or none. Raises what `control.trigger` raises."""
    with transaction.atomic():
        return [
            control.trigger(
                job=job.name,
                project=job.project.name,
                actor=actor,
                params=form.cleaned_data["params"] or None,
                priority=form.cleaned_data["priority"],
            )
            for job in chosen
        ]
