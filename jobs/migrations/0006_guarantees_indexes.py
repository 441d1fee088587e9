"""Indexes for limits on waiting, dead ends and retries, made while everybody goes on working."""

from django.contrib.postgres.indexes import BrinIndex
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("jobs", "0005_guarantees")]

    operations = [
        AddIndexConcurrently(
            model_name='run',
            index=models.Index(condition=models.Q(('expires_at__isnull', False), ('state__in', ('scheduled', 'queued'))), fields=['expires_at'], name='jobs_run_expires'),
        ),
        AddIndexConcurrently(
            model_name='run',
            index=models.Index(models.OrderBy(models.F('id'), descending=True), condition=models.Q(('state__in', ('failed', 'timed_out'))), name='jobs_run_dead_end'),
        ),
        AddIndexConcurrently(
            model_name='run',
            index=models.Index(condition=models.Q(('retry_of__isnull', False)), fields=['retry_of'], name='jobs_run_retries'),
        ),
        AddIndexConcurrently(
            model_name="run",
            index=BrinIndex(fields=["created_at"], name="jobs_run_made_when"),
        ),
    ]
