"""When a job fires: our row beside a django-celery-beat PeriodicTask."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django_celery_beat.models import PeriodicTask

from jobs.models.job import Job


class Schedule(models.Model):
    """The scheduler's memory of one PeriodicTask.

    Made and marked `stale` by database triggers on django-celery-beat's tables, so that every way of editing
    them is seen. Every instant up to and including `cursor` is accounted for; `next_fire_at` is the first
    one after it, or NULL when there is none.
    """

    periodic_task = models.OneToOneField(PeriodicTask, on_delete=models.CASCADE, primary_key=True)
    job = models.OneToOneField(Job, on_delete=models.CASCADE, null=True, related_name="schedule")
    next_fire_at = models.DateTimeField(null=True)
    cursor = models.DateTimeField(db_default=Now())
    anchor = models.DateTimeField(db_default=Now())
    stale = models.BooleanField(db_default=True)

    class Meta:
        indexes = [
            models.Index(fields=["next_fire_at"], condition=Q(next_fire_at__isnull=False), name="jobs_schedule_due"),
            models.Index(fields=["periodic_task"], condition=Q(stale=True), name="jobs_schedule_stale"),
        ]

    def __str__(self) -> str:
        return str(self.periodic_task)
