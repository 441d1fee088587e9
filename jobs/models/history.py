"""What happened: attempts, transitions, and the output of attempts still under way. Appended, never altered."""

from __future__ import annotations

from django.db import models

from jobs.models.moments import MomentField
from jobs.models.run import Run
from jobsched.domain.outcomes import Verdict


class Attempt(models.Model):
    """One try at a run by one worker, written in the same statement that ends it.

    Output up to 64 KiB stands in `output`; longer output stands in the object store under `output_key`.
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
    output_key = models.CharField(max_length=200, null=True)
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


class OutputChunk(models.Model):
    """Output of an attempt that is still running, so that people can follow it and a lost worker leaves a trace."""

    run = models.ForeignKey(Run, on_delete=models.DO_NOTHING, related_name="+", db_constraint=False, db_index=False)
    attempt = models.IntegerField()
    start = models.IntegerField(help_text="Offset of the first byte.")
    data = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "attempt", "start"], name="jobs_outputchunk_once")]

    def __str__(self) -> str:
        return f"output of run {self.run_id} attempt {self.attempt} from byte {self.start}"
