"""When a job fires: our row beside a django-celery-beat PeriodicTask."""

from __future__ import annotations

from datetime import timedelta

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django_celery_beat.models import PeriodicTask

from jobs.models.job import Job
from jobs.models.moments import MomentField


class ScheduleQuerySet(models.QuerySet["Schedule"]):
    def with_rule(self) -> ScheduleQuerySet:
        """Fetch along all rows that say when: the PeriodicTask and whichever of django-celery-beat's it names."""
        return self.select_related(*(f"periodic_task__{kind}" for kind in ("crontab", "interval", "clocked", "solar")))


class Schedule(models.Model):
    """The scheduler's memory of one PeriodicTask, and what django-celery-beat has no column for.

    Made, and marked `stale`, by database triggers on django-celery-beat's tables, so that every way of editing
    them is seen. Every instant up to and including `cursor` is accounted for; `next_fire_at` is when the
    first one after it fires, or NULL when there is none. While `switched_off` or `paused` nothing fires.
    """

    class CatchUp(models.TextChoices):
        NONE = "none", "skip them"
        LATEST = "latest", "run the latest"
        ALL = "all", "run all"

    # Not `schedule`: django-celery-beat has a property of that name, which its own scheduler needs.
    periodic_task = models.OneToOneField(
        PeriodicTask, on_delete=models.CASCADE, primary_key=True, related_name="jobs_schedule"
    )
    job = models.OneToOneField(Job, on_delete=models.CASCADE, null=True, related_name="schedule", editable=False)
    timetable = models.JSONField(
        null=True,
        editable=False,
        help_text="A kind of schedule that django-celery-beat has no row for; it counts instead of the row's own.",
    )
    catch_up = models.CharField(
        max_length=6,
        choices=CatchUp.choices,
        db_default=CatchUp.LATEST,
        default=CatchUp.LATEST,
        help_text="What becomes of instants that were missed: by an outage, or while it was switched off.",
    )
    catch_up_window = models.DurationField(
        db_default=timedelta(days=1), default=timedelta(days=1), help_text="Older ones are skipped in any case."
    )
    catch_up_limit = models.PositiveIntegerField(
        db_default=100,
        default=100,
        validators=[MinValueValidator(1), MaxValueValidator(10_000)],
        help_text="At most so many are run at once; of more, the latest.",
    )
    jitter = models.DurationField(
        db_default=timedelta(0),
        default=timedelta(0),
        help_text="Fires later by an own fixed part of this, so that not all fire at the full hour.",
    )
    exclusions = models.JSONField(null=True, blank=True, help_text="Days and windows in which nothing is run.")
    next_fire_at = MomentField(null=True, editable=False)
    cursor = MomentField(db_default=Now(), editable=False)
    anchor = MomentField(db_default=Now(), editable=False)
    stale = models.BooleanField(db_default=True, default=True, editable=False)
    switched_off = models.BooleanField(db_default=False, default=False, editable=False)
    paused = models.BooleanField(db_default=False, default=False, editable=False)
    held_why = models.CharField(
        max_length=12,
        db_default="",
        default="",
        editable=False,
        help_text="Why instants that are owed did not fire, if it was not for want of a beat.",
    )

    objects = ScheduleQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(
                fields=["next_fire_at"],
                condition=Q(next_fire_at__isnull=False, switched_off=False, paused=False, job__isnull=False),
                name="jobs_schedule_due",
            ),
            # Apart, so that messages a broker does not take stand in no job's way.
            models.Index(
                fields=["next_fire_at"],
                condition=Q(next_fire_at__isnull=False, switched_off=False, paused=False, job__isnull=True),
                name="jobs_schedule_due_task",
            ),
            models.Index(fields=["periodic_task"], condition=Q(stale=True), name="jobs_schedule_stale"),
        ]

    def __str__(self) -> str:
        return str(self.periodic_task)


class FormerSchedule(models.Model):
    """How a schedule read until it was changed: written by a database trigger, never altered.

    With it the instants of any former period can be worked out.
    """

    schedule = models.ForeignKey(
        Schedule, on_delete=models.DO_NOTHING, related_name="former", db_constraint=False, db_index=False
    )
    until = MomentField()
    rule = models.JSONField()

    class Meta:
        ordering = ["until"]
        indexes = [models.Index(fields=["schedule", "until"], name="jobs_formerschedule_until")]

    def __str__(self) -> str:
        return f"schedule {self.schedule_id} until {self.until}"
