"""What a schedule says beside when: what is made up for, what is excluded, how it is spread."""

from __future__ import annotations

from typing import Any

from django import forms

from jobs.admin.fields import LinesField
from jobs.models import Schedule

POLICY_FIELDS = ("catch_up", "catch_up_window", "catch_up_limit", "jitter", "exclude", "blackout")


class PolicyForm(forms.Form):
    """The policies of a schedule, in the words of the YAML format."""

    catch_up = forms.ChoiceField(
        label="What was missed",
        required=False,
        choices=Schedule.CatchUp.choices,
        initial=Schedule.CatchUp.LATEST,
        help_text="By an outage, while it was paused or switched off. What is not run is recorded as skipped.",
    )
    catch_up_window = forms.CharField(
        label="Not older than", required=False, max_length=20, help_text="A duration. Empty: one day."
    )
    catch_up_limit = forms.IntegerField(
        label="At most", required=False, help_text="Of all that was missed, the latest. Empty: 100."
    )
    jitter = forms.CharField(
        label="Jitter",
        required=False,
        max_length=20,
        help_text="A duration up to 1d: it fires later by a part of this, always the same one. Empty: on time.",
    )
    exclude = LinesField(
        label="Exclude days",
        help_text="One a line: 2026-12-25, 12-25 for every year, 2026-12-24..2027-01-02. Nothing is run then.",
    )
    blackout = LinesField(
        label="Blackout",
        help_text="Windows, one a line: 22:00-06:00, sat,sun, mon-fri 09:00-17:00, 2026-12-24 18:00..2026-12-27 06:00.",
    )

    def policy_keys(self) -> dict[str, Any]:
        """Return the cleaned fields as keys of the YAML format; what was left empty is left out."""
        data = self.cleaned_data
        catch_up = {"policy": data.get("catch_up"), "window": data.get("catch_up_window")}
        said: dict[str, Any] = {"catch_up": {key: value for key, value in catch_up.items() if value}}
        if data.get("catch_up_limit") is not None:
            said["catch_up"]["limit"] = data["catch_up_limit"]
        return said | {key: data[key] for key in ("jitter", "exclude", "blackout") if data.get(key)}
