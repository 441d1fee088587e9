"""What is to come: the next fires of all jobs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.utils import timezone

from jobs.admin.badges import moment
from jobs.admin.run_list import JOBS_OFFERED
from jobs.models import Project
from jobs.services import lookahead

SHOWN = 500
OF_EACH = 5
"""A job that fires every second must not hide the others."""
HOURS = {1: "hour", 6: "6 hours", 24: "24 hours", 72: "3 days", 168: "week"}


def _projects() -> list[tuple[str, str]]:
    names = Project.objects.values_list("name", flat=True)[:JOBS_OFFERED]
    return [("", "All projects"), *((name, name) for name in names)]


class AheadForm(forms.Form):
    """How far ahead, and of which project."""

    hours = forms.TypedChoiceField(label="The coming", coerce=int, choices=list(HOURS.items()))
    project = forms.ChoiceField(required=False, choices=_projects)


def page(asked: Any) -> dict[str, Any]:
    """Return what the page shows, in the same few queries however many jobs there are."""
    form = AheadForm({"hours": "24", **asked.dict()})
    if not form.is_valid():
        return {"form": form}
    until = timezone.now() + timedelta(hours=form.cleaned_data["hours"])
    fires = lookahead.upcoming(until=until, limit=SHOWN, of_each=OF_EACH, project=form.cleaned_data["project"] or None)
    return {
        "form": form,
        "until": moment(until),
        "fires": [(moment(fire.at), fire) for fire in fires],
        "of_each": OF_EACH,
        "cut_at": SHOWN if len(fires) == SHOWN else None,
    }
