"""What happened: attempts, transitions, and output."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from jobs.models.moments import MomentField
from jobs.models.run import Run
from jobsched.domain.outcomes import Verdict


class Attempt(models.Model):
    """One try at a run by one worker, written in the same statement that ends it.

    Output up to 64 KiB stands in `output`. Of longer output, the beginning and the end stand there, and all of it is
    in the chunks of the attempt.
    """

    run = models.ForeignKey(
        Run, on_delete=models.DO_NOTHING, related_name="attempts", db_constraint=False, db_index=False
    )
    number = models.IntegerField()
    verdict = models.CharField(max_length=11, choices=[(v.value, v.value.replace("_", " ")) for v in Verdict])
    reason = models.TextField(blank=True, default="")
    exit_code = models.IntegerField(null=True)
    # The signal that ended the work; `exit_code` is then 128 more.
    signal = models.PositiveSmallIntegerField(null=True)
    http_status = models.IntegerField(null=True)
    error = models.TextField(null=True)
    # Does not decide the verdict: processes that were killed at the end.
    warning = models.TextField(blank=True, default="", db_default="")
    result = models.JSONField(null=True)
    worker = models.CharField(max_length=200)
    claim_token = models.UUIDField()
    started_at = MomentField()
    finished_at = MomentField()
    output = models.TextField(blank=True, default="")
    output_total = models.BigIntegerField(default=0)
    sections = models.JSONField(null=True)
    killed = models.IntegerField(default=0)
    # Which processes were ended with the attempt, and how: the receipt of a cancel or a time limit.
    processes = models.JSONField(null=True)

    class Meta:
        ordering = ["run", "number"]
        constraints = [models.UniqueConstraint(fields=["run", "number"], name="jobs_attempt_once")]

    def __str__(self) -> str:
        return f"attempt {self.number} of run {self.run_id}"


class Transition(models.Model):
    """One change of a run's state, appended in the transaction that made it."""

    run = models.ForeignKey(Run, on_delete=models.DO_NOTHING, related_name="transitions", db_constraint=False)
    at = MomentField()
    before = models.CharField(max_length=9, null=True)
    after = models.CharField(max_length=9)
    reason = models.TextField(blank=True, default="")
    attempt = models.IntegerField()
    actor = models.CharField(max_length=200, blank=True, default="")

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"run {self.run_id}: {self.before} -> {self.after}"


class OutputStore(models.Model):
    """A folder on the disk of a host in which output is stored. A store that all hosts can read, has no row."""

    token = models.UUIDField(unique=True)
    """Stands in a file of the folder too, so that a folder which several hosts share is one store."""
    host = models.CharField(max_length=255)
    seen_at = MomentField()

    def __str__(self) -> str:
        return f"output store on {self.host}"


class OutputChunk(models.Model):
    """A part of the output of an attempt: in the row while it is new, then in an object of the output store.

    Output that is short has rows only while its attempt is under way.
    """

    run = models.ForeignKey(Run, on_delete=models.DO_NOTHING, related_name="+", db_constraint=False, db_index=False)
    attempt = models.IntegerField()
    start = models.BigIntegerField(help_text="Offset of the first byte.")
    size = models.IntegerField(help_text="Bytes.")
    data = models.BinaryField(null=True)
    key = models.CharField(max_length=200, null=True, help_text="The name of the object.")
    # Without one, all hosts can read the object.
    store = models.ForeignKey(OutputStore, null=True, on_delete=models.PROTECT, db_index=False, related_name="chunks")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "attempt", "start"], name="jobs_outputchunk_once"),
            models.CheckConstraint(condition=Q(data=None) ^ Q(key=None), name="jobs_outputchunk_is_somewhere"),
        ]
        indexes = [
            # Few: new output, and what the store did not take.
            models.Index(fields=["run", "attempt"], condition=Q(key=None), name="jobs_outputchunk_unstored"),
            models.Index(fields=["key"], condition=Q(key__isnull=False), name="jobs_outputchunk_object"),
        ]

    def __str__(self) -> str:
        return f"output of run {self.run_id} attempt {self.attempt} from byte {self.start}"
