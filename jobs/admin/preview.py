"""The schedule in words, its next instants and what is in their way, before and after saving."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.http import JsonResponse
from pydantic import ValidationError

from jobs.admin.schedule_form import ScheduleForm
from jobs.admin.spec_errors import problems, sentence
from jobs.models import Job
from jobs.services import definitions
from jobsched.domain.errors import InvalidInput
from jobsched.domain.specs import JobSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A schedule as a page shows it: `wrong` when the words say why it cannot be."""

    words: str
    fires: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    """Instants before the last of `fires` that are excluded, each with the reason."""
    warnings: list[str] = field(default_factory=list)
    """Instants that clock changes move, a sentence each."""
    wrong: bool = False


def answer(data: Any) -> JsonResponse:
    """Answer what the schedule's fields of a form mean. What is wrong with them is part of the answer."""
    form = ScheduleForm(data)
    form.is_valid()
    return JsonResponse(asdict(of_form(form)))


def of_form(form: ScheduleForm) -> Shown:
    """Return what a filled-in form's schedule means, whatever else stands in the form."""
    for name in ScheduleForm.base_fields:
        if name in form.errors:
            return _wrong(f"{form.fields[name].label}: {form.errors[name][0]}")
    keys = form.schedule_keys()
    try:
        spec = JobSpec.model_validate({"name": "preview", "run": "true", **keys})
        found = definitions.preview(spec)
    except ValidationError as error:
        return _wrong(" ".join(message for _, message in problems(error)))
    except InvalidInput as error:
        return _wrong(sentence(error.message))
    return _shown(found, zone=keys.get("timezone", "UTC"), jitter=keys.get("jitter", ""))


def of_job(job: Job | None) -> Shown:
    """Return what a saved job's schedule means."""
    if job is None or job.pk is None:
        return Shown(words="Only on request.")
    said = definitions.manifest(job)
    return _shown(definitions.preview_of(job), zone=said.get("timezone", "UTC"), jitter=said.get("jitter", ""))


def _shown(found: definitions.Preview, *, zone: str, jitter: str) -> Shown:
    spread = f" Each up to {jitter} later, always by the same part of it." if jitter else ""
    return Shown(
        words=sentence(found.words) + spread,
        fires=[_clock(at, zone) for at in found.fires],
        skipped=[f"{_clock(skipped.at, zone)}: {skipped.reason}" for skipped in found.skipped],
        warnings=[sentence(warned.sentence) for warned in found.warnings],
    )


def _wrong(words: str) -> Shown:
    return Shown(words=words, wrong=True)


def _clock(at: datetime, zone: str) -> str:
    local = at.astimezone(ZoneInfo(zone))
    text = f"{local:%a %Y-%m-%d %H:%M:%S} {local.tzname()}"
    return text if zone == "UTC" else f"{text} ({at:%Y-%m-%d %H:%M:%S} UTC)"
