"""When a job fires, as a form: part of the job's own, and all that a preview needs."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from django import forms


def _zones() -> list[tuple[str, str]]:
    return [("UTC", "UTC"), *((zone, zone) for zone in sorted(available_timezones() - {"UTC", "localtime", "Factory"}))]


class ScheduleForm(forms.Form):
    """The schedule in the words of the YAML format. Whether it can be is for JobSpec to say."""

    WHEN = {
        "request": "Only on request",
        "cron": "Cron string",
        "every": "Interval",
        "at": "At one moment",
    }
    KEYS = {"cron": "schedule", "every": "schedule", "at": "at"}

    when = forms.ChoiceField(label="Fires", choices=list(WHEN.items()), widget=forms.RadioSelect, initial="request")
    cron = forms.CharField(
        label="Cron string",
        required=False,
        max_length=200,
        widget=forms.TextInput({"size": 40, "class": "js-code", "placeholder": "0 2 * * *"}),
        help_text="Minute, hour, day of month, month, day of week; 0 2 * * 1-5 is 02:00 from Monday to Friday.",
    )
    every = forms.CharField(
        label="Every",
        required=False,
        max_length=50,
        widget=forms.TextInput({"size": 12, "placeholder": "15m"}),
        help_text="A duration such as 90s, 15m or 1h30m.",
    )
    at = forms.CharField(
        label="At",
        required=False,
        max_length=50,
        widget=forms.DateTimeInput({"type": "datetime-local", "step": "1"}),
        help_text="On the clock of the time zone below.",
    )
    timezone = forms.ChoiceField(label="Time zone", choices=_zones, initial="UTC")
    run_once = forms.BooleanField(
        label="Run once", required=False, help_text="Fire at the next due instant, and then no more."
    )

    def schedule_keys(self) -> dict[str, Any]:
        """Return the cleaned fields as keys of the YAML format."""
        when = self.cleaned_data.get("when")
        if when not in self.KEYS:
            return {}
        keys: dict[str, Any] = {self.KEYS[when]: self.cleaned_data.get(when) or ""}
        if when != "every":
            keys["timezone"] = self.cleaned_data.get("timezone") or "UTC"
        if when != "at":
            keys["run_once"] = bool(self.cleaned_data.get("run_once"))
        return keys

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        when = data.get("when")
        if when in self.KEYS and not data.get(when) and when not in self.errors:
            self.add_error(
                when, {"cron": "Write a cron string.", "every": "Write a duration.", "at": "Give a moment."}[when]
            )
        return data

    @staticmethod
    def initial_from(manifest: dict[str, Any]) -> dict[str, Any]:
        """Return what the fields show for a saved job."""
        zone = manifest.get("timezone", "UTC")
        initial: dict[str, Any] = {"timezone": zone, "run_once": manifest.get("run_once", False), "when": "request"}
        if schedule := manifest.get("schedule"):
            when = "cron" if " " in schedule else "every"
            initial |= {"when": when, when: schedule}
        elif at := manifest.get("at"):
            local = datetime.fromisoformat(str(at)).astimezone(ZoneInfo(zone))
            initial |= {"when": "at", "at": f"{local:%Y-%m-%dT%H:%M:%S}"}
        return initial
