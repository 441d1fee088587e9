"""What a throttle remembers: one moment for each thing that is limited."""

from __future__ import annotations

from django.db import models

from jobs.models.moments import MomentField


class Throttle(models.Model):
    """Failures of one account or address, as the moment at which all of them are forgotten."""

    key = models.CharField(max_length=64, primary_key=True, help_text="A keyed hash: names and addresses stay private.")
    until = MomentField(
        db_index=True, help_text="Each failure moves it further; when it is past, the row says nothing."
    )

    def __str__(self) -> str:
        return self.key[:8]
