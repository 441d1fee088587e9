"""Queues: how fast the runs of each may start."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from jobs.admin.badges import NOTHING
from jobs.admin.spec_errors import sentence
from jobs.conf import conf
from jobs.models import Queue
from jobs.services import queues
from jobsched.domain.errors import InvalidInput
from jobsched.domain.rates import Rate


def _without_rate() -> list[tuple[str, str]]:
    known = set(Queue.objects.values_list("name", flat=True))
    return [(name, name) for name in conf().queues if name not in known]


class QueueForm(forms.ModelForm):  # type: ignore[type-arg]  # takes none at run time
    """A queue of the settings and its rate."""

    name = forms.ChoiceField(choices=_without_rate, help_text="One that the settings name (JOBSCHED_QUEUES).")
    rate = forms.CharField(
        required=False,
        max_length=20,
        widget=forms.TextInput({"size": 12, "placeholder": "100/m"}),
        help_text="Starts in a second, minute, hour or day (s, m, h, d), over all workers, spread evenly. "
        "Empty: no limit.",
    )

    class Meta:
        model = Queue
        fields = ("name", "rate")

    def clean_rate(self) -> str:
        text = str(self.cleaned_data["rate"])
        try:
            return Rate.parse(text).text if text else ""
        except InvalidInput as error:
            raise forms.ValidationError(sentence(error.message)) from error


@admin.register(Queue)
class QueueAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # takes none at run time
    """A queue that is not listed has no rate. Taking the limit away is emptying it; rows are never deleted."""

    form = QueueForm
    list_display = ("name", "rate_shown")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("name",) if obj else ()

    def save_model(self, request: HttpRequest, obj: Queue, form: Any, change: bool) -> None:
        queues.set_rate(obj.name, obj.rate or None, actor=request.user.get_username())

    @admin.display(description="rate", ordering="rate")
    def rate_shown(self, queue: Queue) -> str:
        return queue.rate or NOTHING
