"""What is known of messages that workers rejected."""

from __future__ import annotations

from django.db import models

from jobs.models.moments import MomentField


class RejectedMessages(models.Model):
    """How many messages of a queue were rejected for one reason, since the last day without any."""

    queue = models.CharField(max_length=255)
    reason = models.CharField(max_length=100)
    count = models.BigIntegerField()
    first_at = MomentField()
    last_at = MomentField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["queue", "reason"], name="jobs_rejectedmessages_one")]

    def __str__(self) -> str:
        return f"{self.count} messages of {self.queue}"
