"""When a job fires, as a form: part of the job's own, and all that a preview needs."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from django import forms

from jobs.admin.fields import CodeField
from jobs.admin.policy_form import PolicyForm
from jobsched.domain import durations
from jobsched.domain.catchup import CatchUp
from jobsched.domain.recurrence import is_rule


def zones() -> list[tuple[str, str]]:
    return [("UTC", "UTC"), *((zone, zone) for zone in sorted(available_timezones() - {"UTC", "localtime", "Factory"}))]


class ScheduleForm(PolicyForm):
    """The schedule in the words of the YAML format. Whether it can be is for JobSpec to say."""

    WHEN = {
        "request": "Only on request",
        "cron": "Cron string",
        "every": "Interval",
        "rrule": "Recurrence rule",
        "at": "At one moment",
    }
    KEYS = {"cron": "schedule", "every": "schedule", "rrule": "schedule", "at": "at"}
    EMPTY = {
        "cron": "Write a cron string.",
        "every": "Write a duration.",
        "rrule": "Write a rule.",
        "at": "Give a moment.",
    }

    when = forms.ChoiceField(label="Fires", choices=list(WHEN.items()), widget=forms.RadioSelect, initial="request")
    cron = forms.CharField(
        label="Cron string",
        required=False,
        max_length=200,
        widget=forms.TextInput({"size": 40, "class": "js-code", "placeholder": "0 2 * * *"}),
        help_text="Minute, hour, day of month, month, day of week; 0 2 * * 1-5 is 02:00 from Monday to Friday, "
        "0 2 L * * the last day of each month, 0 2 * * 2#2 its second Tuesday.",
    )
    every = forms.CharField(
        label="Every",
        required=False,
        max_length=50,
        widget=forms.TextInput({"size": 12, "placeholder": "15m"}),
        help_text="A duration such as 90s, 15m or 1h30m.",
    )
    rrule = CodeField(
        label="Recurrence rule",
        rows=2,
        required=False,
        help_text="As in calendars (RFC 5545): RRULE:FREQ=MONTHLY;BYDAY=2TU;BYHOUR=9, with a line "
        "DTSTART:20260101T090000 before it if it is counted from a moment.",
    )
    at = forms.CharField(
        label="At",
        required=False,
        max_length=50,
        widget=forms.DateTimeInput({"type": "datetime-local", "step": "1"}),
        help_text="On the clock of the time zone below.",
    )
    timezone = forms.ChoiceField(
        label="Time zone", choices=zones, initial="UTC", help_text="Also that of start, end and what is excluded."
    )
    run_once = forms.BooleanField(
        label="Run once", required=False, help_text="Fire at the next due instant, and then no more."
    )
    start = forms.CharField(
        label="Start",
        required=False,
        max_length=50,
        widget=forms.TextInput({"size": 26, "placeholder": "2026-12-01 03:00"}),
        help_text="From when on the schedule counts. Empty: at once.",
    )
    end = forms.CharField(
        label="End",
        required=False,
        max_length=50,
        widget=forms.TextInput({"size": 26, "placeholder": "2027-01-01 00:00"}),
        help_text="Nothing is due from then on. Empty: never.",
    )

    def schedule_keys(self) -> dict[str, Any]:
        """Return the cleaned fields as keys of the YAML format."""
        when = self.cleaned_data.get("when")
        if when not in self.KEYS:
            return {}
        data = self.cleaned_data
        keys: dict[str, Any] = {
            self.KEYS[when]: data.get(when) or "",
            "timezone": data.get("timezone") or "UTC",
            **self.policy_keys(),
        }
        if when != "at":
            keys["run_once"] = bool(data.get("run_once"))
            keys |= {key: data[key] for key in ("start", "end") if data.get(key)}
        return keys

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        when = data.get("when")
        if when in self.KEYS and not (data.get(when) or "").strip() and when not in self.errors:
            self.add_error(when, self.EMPTY[when])
        return data

    @staticmethod
    def initial_from(manifest: dict[str, Any]) -> dict[str, Any]:
        """Return what the fields show for a saved job."""
        zone = manifest.get("timezone", "UTC")
        initial: dict[str, Any] = {"timezone": zone, "run_once": manifest.get("run_once", False), "when": "request"}
        if schedule := manifest.get("schedule"):
            when = "rrule" if is_rule(schedule) else "cron" if " " in schedule else "every"
            initial |= {"when": when, when: schedule}
        elif at := manifest.get("at"):
            local = datetime.fromisoformat(str(at)).astimezone(ZoneInfo(zone))
            initial |= {"when": "at", "at": f"{local:%Y-%m-%dT%H:%M:%S}"}
        initial |= {key: _on_the_clock(manifest[key], zone) for key in ("start", "end") if manifest.get(key)}
        catch_up = CatchUp.model_validate(manifest.get("catch_up", {}))
        return initial | {
            "catch_up": catch_up.policy,
            "catch_up_window": durations.to_text(catch_up.window),
            "catch_up_limit": catch_up.limit,
            "jitter": manifest.get("jitter", ""),
            "exclude": list(manifest.get("exclude", ())),
            "blackout": list(manifest.get("blackout", ())),
        }


def _on_the_clock(text: str, zone: str) -> str:
    """Write a moment as the clock of a zone shows it; with its offset where that alone would be ambiguous."""
    local = datetime.fromisoformat(text).astimezone(ZoneInfo(zone))
    shown = local.replace(tzinfo=None)
    repeated = local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()
    return (local if repeated else shown).isoformat(sep=" ", timespec="seconds")
