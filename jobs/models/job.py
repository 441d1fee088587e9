"""What is to be done: projects, jobs, and every former definition of a job."""

from __future__ import annotations

from datetime import timedelta

from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import ExpressionWrapper, Q
from django.db.models.functions import Now

from jobs.models.moments import MomentField

JOB_NAME = RegexValidator(
    r"\A[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}\Z",
    "A name starts with a letter or digit and holds letters, digits, spaces, dots, dashes and underscores only.",
)

RATE_OR_NONE = r"^([1-9][0-9]{0,6}/[smhd])?$"
"""What the database function `jobs_rate_step` reads."""


class Project(models.Model):
    """Owns jobs; a job's name is unique in it. `default` always exists."""

    name = models.CharField(max_length=100, unique=True, validators=[JOB_NAME])
    created_at = MomentField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class JobQuerySet(models.QuerySet["Job"]):
    def current(self) -> JobQuerySet:
        """Jobs that have not been deleted."""
        return self.filter(archived_at=None)


class Job(models.Model):
    """A definition of work. The database itself keeps each former version as a Definition.

    Deleting a job archives it: its schedule goes, its runs and definitions stay.
    """

    class OnLost(models.TextChoices):
        RETRY = "retry", "run it again (effects at least once)"
        FAIL = "fail", "fail it (effects at most once)"

    class Background(models.TextChoices):
        WARN = "warn", "kill them, and warn"
        FAIL = "fail", "kill them, and fail the run"
        IGNORE = "ignore", "kill them"

    class Overlap(models.TextChoices):
        ALLOW = "allow", "run beside it"
        SKIP = "skip", "skip the new one"
        QUEUE = "queue", "wait until it has ended"
        REPLACE = "replace", "cancel it first"

    # Found by project and name. An index on the project alone would be chosen while the statistics are old.
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="jobs", db_index=False)
    name = models.CharField(max_length=100, validators=[JOB_NAME])
    description = models.TextField(blank=True, default="")
    kind = models.CharField(max_length=32)
    spec = models.JSONField(help_text="What to do, in the shape of the kind.")
    queue = models.CharField(max_length=63, default="default")
    priority = models.SmallIntegerField(
        default=5,
        validators=[MinValueValidator(0), MaxValueValidator(9)],
        help_text="0 to 9; of the runs waiting in a queue, the highest goes first.",
    )
    timeout = models.DurationField(null=True, blank=True, default=timedelta(hours=1))
    grace = models.DurationField(default=timedelta(seconds=10))
    max_wait = models.DurationField(
        null=True, blank=True, help_text="A run that waited this long in its queue without being started is given up."
    )
    deadline = models.DurationField(
        null=True, blank=True, help_text="A run must have ended this long after it was due, all attempts included."
    )
    retries = models.JSONField(default=dict, blank=True)
    on_lost = models.CharField(max_length=8, choices=OnLost.choices, default=OnLost.RETRY)
    background = models.CharField(
        max_length=6, choices=Background.choices, default=Background.WARN, db_default=Background.WARN
    )
    env = models.JSONField(default=dict, blank=True)
    params = models.JSONField(default=dict, blank=True)
    in_process = models.BooleanField(
        default=False, editable=False, help_text="The callable is trusted to run inside the slot itself."
    )
    paused = models.BooleanField(default=False)
    overlap = models.CharField(max_length=7, choices=Overlap.choices, default=Overlap.ALLOW, db_default=Overlap.ALLOW)
    max_running = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1)], help_text="At most this many of its runs at once."
    )
    concurrency_key = models.CharField(
        max_length=200,
        blank=True,
        default="",
        db_default="",
        help_text="A text with parameters, such as customer-{customer}: overlap is judged among runs of the same text.",
    )
    unique_waiting = models.BooleanField(
        default=False, db_default=False, help_text="While a run waits, another request for the same key gets that one."
    )
    rate = models.CharField(
        max_length=20, blank=True, default="", db_default="", help_text="At most so many starts, such as 100/m."
    )
    limited = models.GeneratedField(
        expression=ExpressionWrapper(
            ~Q(overlap="allow")
            | Q(max_running__isnull=False)
            | ~Q(concurrency_key="")
            | Q(unique_waiting=True)
            | ~Q(rate=""),
            output_field=models.BooleanField(),
        ),
        output_field=models.BooleanField(),
        db_persist=True,
    )
    definition = models.ForeignKey("Definition", null=True, on_delete=models.PROTECT, related_name="+", editable=False)
    created_at = MomentField(db_default=Now(), editable=False)
    archived_at = MomentField(null=True, editable=False)

    objects = JobQuerySet.as_manager()

    class Meta:
        ordering = ["project__name", "name"]
        constraints = [
            models.UniqueConstraint(
                fields=["project", "name"],
                condition=Q(archived_at=None),
                name="jobs_job_name_once_in_project",
            ),
            models.CheckConstraint(condition=Q(priority__range=(0, 9)), name="jobs_job_priority_0_to_9"),
            models.CheckConstraint(condition=Q(rate__regex=RATE_OR_NONE), name="jobs_job_rate_can_be_read"),
        ]

    def __str__(self) -> str:
        return self.name


class Definition(models.Model):
    """One version of a job as it was. Written by a database trigger whenever the job changes, never altered."""

    job = models.ForeignKey(Job, on_delete=models.PROTECT, related_name="definitions")
    version = models.PositiveIntegerField()
    content = models.JSONField()
    created_at = MomentField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["-version"]
        constraints = [models.UniqueConstraint(fields=["job", "version"], name="jobs_definition_version_once")]

    def __str__(self) -> str:
        return f"{self.job} v{self.version}"
