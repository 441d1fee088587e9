"""What limits need to remember: rates of queues, locks of limited jobs, backfills."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from jobs.models.job import RATE_OR_NONE, Job
from jobs.models.moments import MomentField


class Queue(models.Model):
    """A queue that has a rate. Queues without a row here are not limited."""

    name = models.CharField(max_length=63, primary_key=True)
    rate = models.CharField(max_length=20, blank=True, default="", help_text="At most so many starts, such as 100/m.")
    next_at = MomentField(null=True, editable=False, help_text="Nothing more may start before.")

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(condition=Q(rate__regex=RATE_OR_NONE), name="jobs_queue_rate_can_be_read"),
        ]

    def __str__(self) -> str:
        return self.name


class Gate(models.Model):
    """The lock under which it is decided which runs of a limited job may go; apart from the job, which is edited."""

    job = models.OneToOneField(Job, on_delete=models.CASCADE, primary_key=True, related_name="gate")
    next_at = MomentField(null=True, help_text="By the job's rate, nothing more may start before.")

    def __str__(self) -> str:
        return f"gate of {self.job}"


class Backfill(models.Model):
    """A request to run a job for instants of its past."""

    job = models.ForeignKey(Job, on_delete=models.PROTECT, related_name="backfills")
    start = MomentField()
    end = MomentField()
    max_running = models.PositiveIntegerField(null=True)
    requested_by = models.CharField(max_length=150)
    created_at = MomentField(db_default=Now())

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"backfill {self.pk} of {self.job}"
