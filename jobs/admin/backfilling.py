"""Backfill: what is asked before, what it would do, and the request itself."""

from __future__ import annotations

from typing import Any

from django import forms

from jobs.admin.spec_errors import sentence
from jobs.models import Job
from jobs.services.backfill import Filled, backfill
from jobsched.domain.errors import JobschedError


class BackfillForm(forms.Form):
    """Which instants of the past, and how many of their runs at once."""

    start = forms.DateTimeField(label="From", widget=forms.DateTimeInput({"type": "datetime-local", "step": "1"}))
    end = forms.DateTimeField(
        label="To",
        widget=forms.DateTimeInput({"type": "datetime-local", "step": "1"}),
        help_text="Both included, on the clock of the site. An instant that has its run already is passed over.",
    )
    max_running = forms.IntegerField(
        label="At most at once",
        required=False,
        min_value=1,
        help_text="Empty: as many as there are slots and the job allows.",
    )

    def fill(self, job: Job, *, actor: str, dry_run: bool) -> Filled | None:
        """Make the runs, or only count them. Return None when it is refused; the form then says why."""
        data: dict[str, Any] = self.cleaned_data
        try:
            return backfill(
                job,
                start=data["start"],
                end=data["end"],
                max_running=data["max_running"],
                actor=actor,
                dry_run=dry_run,
            )
        except JobschedError as error:
            self.add_error(None, sentence(getattr(error, "message", str(error))))
            return None


def summary(filled: Filled) -> str:
    """Say what was passed over."""
    parts = []
    if filled.already:
        parts.append(f"{filled.already} had their run already" if filled.already > 1 else "1 had its run already")
    if filled.excluded:
        parts.append(f"{filled.excluded} lie{'' if filled.excluded > 1 else 's'} in excluded days or windows")
    return "; ".join(parts)
