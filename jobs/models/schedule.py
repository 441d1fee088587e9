"""When a job fires: our row beside a django-celery-beat PeriodicTask."""

from __future__ import annotations

from datetime import datetime, timedelta

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
    # What was due up to here, while it was held, is for its catch-up rule, whatever its jitter.
    held_until = MomentField(null=True, editable=False)

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

    @property
    def held(self) -> str:
        """Why it does not fire: "paused", "switched off", or empty when it does."""
        return "paused" if self.paused else "switched off" if self.switched_off else ""

    @property
    def fires_next_at(self) -> datetime | None:
        """When it fires next; None while it is held, and before a beat has worked it out."""
        return None if self.held else self.next_fire_at


class FormerScheduleQuerySet(models.QuerySet["FormerSchedule"]):
    def deletions(self) -> FormerScheduleQuerySet:
        """The last rules of schedules that were deleted, the latest first."""
        return self.filter(deleted_by__isnull=False).order_by("-until", "-id")


class FormerSchedule(models.Model):
    """How the schedule of a job read until it was changed or deleted: written by database triggers.

    With it the instants of any former period can be worked out, also after the schedule is gone. A rule counts for the
    instants after `begins` up to `until`. While it is `unrecorded`, no beat has looked at it: the next one works out
    what was due by it, records that as a skipped run, and takes the mark away. Nothing else is ever altered.
    """

    schedule = models.ForeignKey(
        Schedule, on_delete=models.DO_NOTHING, related_name="former", db_constraint=False, db_index=False
    )
    job = models.ForeignKey(
        Job, on_delete=models.DO_NOTHING, related_name="former_schedules", db_constraint=False, db_index=False
    )
    begins = MomentField()
    until = MomentField()
    rule = models.JSONField()
    unrecorded = models.BooleanField(db_default=False, default=False)
    # That changed it: further changes in the same transaction are part of this one.
    transaction = models.BigIntegerField(null=True)
    # Who deleted the schedule at `until`; NULL when it was changed and goes on. `deleted_outside`: by SQL or by another
    # program through the ORM, and not by jobsched itself.
    deleted_by = models.TextField(null=True)
    deleted_outside = models.BooleanField(db_default=False, default=False)

    objects = FormerScheduleQuerySet.as_manager()

    class Meta:
        ordering = ["until"]
        indexes = [
            models.Index(fields=["schedule", "until"], name="jobs_formerschedule_until"),
            models.Index(fields=["job", "until"], name="jobs_formerschedule_of_job"),
            models.Index(
                fields=["job", "until"], condition=Q(deleted_by__isnull=False), name="jobs_formerschedule_deleted"
            ),
            models.Index(fields=["id"], condition=Q(unrecorded=True), name="jobs_formerschedule_unrecorded"),
        ]

    def __str__(self) -> str:
        return f"schedule {self.schedule_id} until {self.until}"
