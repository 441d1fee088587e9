"""Files of jobs that are being applied, and their jobs while they are checked."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from jobs.models.moments import MomentField


class Apply(models.Model):
    """One request to apply a file of jobs. It is kept for a day after its end, for clients that ask again.

    `batch` is the number of the present attempt at it, under which its jobs are staged; only that attempt can publish.
    Whoever works on it renews `touched_at` every few seconds. When that stops, the process is gone, and the next one
    that is asked about it begins another attempt.
    """

    class State(models.TextChoices):
        CHECKING = "checking", "its jobs are being checked"
        APPLIED = "applied", "all its jobs are as the file says"
        REFUSED = "refused", "nothing of it was applied"
        CANCELLED = "cancelled", "cancelled before it was applied"

    actor = models.CharField(max_length=150)
    key = models.CharField(max_length=200, null=True)  # the client's own, by which it finds its request again
    filename = models.CharField(max_length=200)
    source = models.TextField()  # emptied when it has ended
    digest = models.CharField(max_length=64)  # of the source and the file's name, as SHA-256
    state = models.CharField(max_length=9, choices=State.choices, default=State.CHECKING, db_default=State.CHECKING)
    batch = models.BigIntegerField()
    attempts = models.PositiveSmallIntegerField(default=1, db_default=1)
    total = models.PositiveIntegerField(default=0, db_default=0)
    checked = models.PositiveIntegerField(default=0, db_default=0)
    results = models.JSONField(null=True)
    error = models.TextField(default="", db_default="")
    is_conflict = models.BooleanField(default=False, db_default=False)
    created_at = MomentField(db_default=Now())
    touched_at = MomentField(db_default=Now())
    finished_at = MomentField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["actor", "key"], condition=Q(key__isnull=False), name="jobs_apply_key_once")
        ]

    def __str__(self) -> str:
        return f"{self.filename} ({self.state})"


class StagedJob(models.Model):
    """A job of a file as it should be, and how it differs from what there is. Deleted when the file is applied."""

    batch = models.BigIntegerField()
    position = models.PositiveIntegerField()
    name = models.CharField(max_length=100)
    fields = models.JSONField()  # columns of Job
    schedule = models.JSONField(null=True)  # None for a job that runs on request
    # What follows is found by comparing.
    job_id = models.BigIntegerField(null=True)  # None for a new job
    task_id = models.BigIntegerField(null=True)  # its PeriodicTask
    differs = models.BooleanField(db_default=False, default=False)  # the job has other values in its columns
    is_moved = models.BooleanField(db_default=False, default=False)  # it fires at other instants
    has_other_policies = models.BooleanField(db_default=False, default=False)  # of the schedule: catch-up, exclusions
    has_other_exclusions = models.BooleanField(db_default=False, default=False)
    is_unscheduled = models.BooleanField(db_default=False, default=False)  # its schedule goes
    is_due_some_day = models.BooleanField(db_default=False, default=False)  # that was checked
    crontab_id = models.BigIntegerField(null=True)
    interval_id = models.BigIntegerField(null=True)
    clocked_id = models.BigIntegerField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["batch", "name"], name="jobs_stagedjob_name_once")]

    def __str__(self) -> str:
        return self.name
