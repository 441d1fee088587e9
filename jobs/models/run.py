"""One occurrence of a job. The hot table: narrow rows, partial indexes, output and history elsewhere."""

from __future__ import annotations

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from jobs.models.job import Definition, Job
from jobs.models.moments import MomentField
from jobs.models.schedule import Schedule
from jobsched.domain.states import ACTIVE, FINISHED, State


class RunQuerySet(models.QuerySet["Run"]):
    def active(self) -> RunQuerySet:
        """Runs that have not ended."""
        return self.filter(state__in=ACTIVE)

    def finished(self) -> RunQuerySet:
        """Runs that have ended, in whatever way."""
        return self.filter(state__in=FINISHED)


class Run(models.Model):
    """A due instant of a schedule, or a request by a person, the API or code.

    `attempt` counts every claim and never goes back: with `claim_token` it is the fence against a worker
    that lost its claim. `handed_back` counts claims that a stopping worker returned; they are not held
    against the job's retries.
    """

    class Trigger(models.TextChoices):
        SCHEDULE = "schedule", "schedule"
        REQUEST = "request", "request"
        RETRY = "retry", "retry by hand"
        BACKFILL = "backfill", "backfill"

    class Held(models.IntegerChoices):
        """What keeps a queued run from being claimed. Beats, and workers that end a run, let the next ones go."""

        NO = 0, "may be claimed"
        QUEUE = 1, "waits for its queue's rate"
        JOB = 2, "waits for its job's limits"

    # A constraint would lock the job's row for every run made: thousands a second then queue for one row
    # (measured: 2,000 runs a second instead of 20,000). A trigger refuses to delete a job that has runs.
    job = models.ForeignKey(Job, on_delete=models.PROTECT, related_name="runs", db_index=False, db_constraint=False)
    # History must never hold up an edit, and a deleted schedule must not take its runs along: no constraint.
    definition = models.ForeignKey(
        Definition, on_delete=models.DO_NOTHING, related_name="+", db_index=False, db_constraint=False
    )
    schedule = models.ForeignKey(
        Schedule,
        null=True,
        on_delete=models.DO_NOTHING,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )
    scheduled_for = MomentField(null=True)
    trigger = models.CharField(max_length=8, choices=Trigger.choices)
    requested_by = models.CharField(max_length=150, blank=True, default="")
    state = models.CharField(max_length=9, choices=[(s.value, s.value.replace("_", " ")) for s in State])
    reason = models.TextField(blank=True, default="")
    queue = models.CharField(max_length=63)
    priority = models.SmallIntegerField()
    run_at = MomentField(help_text="Not before this moment.")
    params = models.JSONField(null=True)
    in_process = models.BooleanField(default=False)
    # In-process runs may be claimed together, and nothing records which of them has begun. False where that must be
    # known: for `on_lost: fail`, for an attempt that was claimed alone, and after one that was lost with others.
    batchable = models.BooleanField(default=False, db_default=False)
    held = models.SmallIntegerField(choices=Held.choices, default=Held.NO, db_default=Held.NO)
    # The runs of a job that must not run beside each other share a lane: the rendered concurrency key, "" without one,
    # "backfill:7" for those of a backfill. NULL: the job has no limits.
    lane = models.TextField(null=True)
    # A skipped run may stand for several instants: those from `scheduled_for` to here.
    skipped_until = MomentField(null=True)
    skipped_count = models.IntegerField(null=True)
    # What its definition said of time when the run was made: how long it may wait in its queue, and when all of it must
    # have ended. `expires_at` is the nearer of the two while it waits, and what beat looks for.
    wait_seconds = models.FloatField(null=True)
    deadline_at = MomentField(null=True)
    expires_at = MomentField(null=True)
    # The run that this one repeats: by number, so that history may be cleared away behind it.
    retry_of = models.BigIntegerField(null=True)
    attempt = models.IntegerField(default=0)
    handed_back = models.IntegerField(default=0)
    claim_token = models.UUIDField(null=True)
    lease_until = MomentField(null=True)
    worker = models.CharField(max_length=200, null=True)
    cancel_requested_at = MomentField(null=True)
    cancel_requested_by = models.CharField(max_length=150, null=True)
    created_at = MomentField(db_default=Now())
    started_at = MomentField(null=True)
    finished_at = MomentField(null=True)

    objects = RunQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["schedule", "scheduled_for"],
                condition=Q(schedule__isnull=False) & ~Q(state="skipped"),
                name="jobs_run_one_per_instant",
            ),
            # Apart, so that an instant that was skipped can be run after all, by a backfill.
            models.UniqueConstraint(
                fields=["schedule", "scheduled_for"],
                condition=Q(schedule__isnull=False, state="skipped"),
                name="jobs_run_one_skip_per_instant",
            ),
            models.CheckConstraint(condition=Q(state__in=list(State)), name="jobs_run_known_state"),
            models.CheckConstraint(
                condition=Q(state="running", claim_token__isnull=False, lease_until__isnull=False)
                | (~Q(state="running") & Q(claim_token=None, lease_until=None)),
                name="jobs_run_running_means_claimed",
            ),
            models.CheckConstraint(
                condition=Q(state__in=FINISHED, finished_at__isnull=False)
                | Q(state__in=ACTIVE, finished_at__isnull=True),
                name="jobs_run_finished_has_its_time",
            ),
        ]
        indexes = [
            # The order of claims. Heartbeats touch no indexed column, so that their updates stay HOT.
            models.Index(
                "queue",
                F("priority").desc(),
                "run_at",
                "id",
                condition=Q(state="queued", held=0),
                name="jobs_run_claim",
            ),
            models.Index(
                "queue",
                F("priority").desc(),
                "run_at",
                "id",
                condition=Q(state="queued", held=1),
                name="jobs_run_held_by_queue",
            ),
            models.Index(
                "job",
                "lane",
                F("priority").desc(),
                "run_at",
                "id",
                condition=Q(state="queued", held=2),
                name="jobs_run_held_by_job",
            ),
            models.Index(
                fields=["job", "held", "lane"],
                condition=Q(lane__isnull=False, state__in=ACTIVE),
                name="jobs_run_lane",
            ),
            models.Index(fields=["run_at"], condition=Q(state="scheduled"), name="jobs_run_promote"),
            models.Index(fields=["id"], condition=Q(state="running"), name="jobs_run_running"),
            models.Index(F("job"), F("id").desc(), name="jobs_run_of_job"),
            models.Index(
                fields=["expires_at"],
                condition=Q(state__in=("scheduled", "queued"), expires_at__isnull=False),
                name="jobs_run_expires",
            ),
            # Dead ends, and what became of them.
            models.Index(F("id").desc(), condition=Q(state__in=("failed", "timed_out")), name="jobs_run_dead_end"),
            # History grows by the moment: ranges of it cost a few pages and next to nothing to keep.
            BrinIndex(fields=["created_at"], name="jobs_run_made_when"),
            models.Index(fields=["retry_of"], condition=Q(retry_of__isnull=False), name="jobs_run_retries"),
        ]

    def __str__(self) -> str:
        return f"run {self.pk} of {self.job}"
