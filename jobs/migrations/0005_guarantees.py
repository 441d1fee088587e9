"""Limits on waiting and on the whole run, retries that know what they repeat, and receipts of what was ended.

Columns only, all of them empty at first: workers and beats of the version before go on beside it.
"""

from pathlib import Path

from django.db import migrations, models

FOLDER = Path(__file__).parent


class Migration(migrations.Migration):
    dependencies = [("jobs", "0004_scheduling_triggers")]

    operations = [
        migrations.AddField(
            model_name='attempt',
            name='processes',
            field=models.JSONField(null=True),
        ),
        migrations.AddField(
            model_name='job',
            name='deadline',
            field=models.DurationField(blank=True, help_text='A run must have ended this long after it was due, all attempts included.', null=True),
        ),
        migrations.AddField(
            model_name='job',
            name='max_wait',
            field=models.DurationField(blank=True, help_text='A run that waited this long in its queue without being started is given up.', null=True),
        ),
        migrations.AddField(
            model_name='run',
            name='deadline_at',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='run',
            name='expires_at',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='run',
            name='retry_of',
            field=models.BigIntegerField(null=True),
        ),
        migrations.AddField(
            model_name='run',
            name='wait_seconds',
            field=models.FloatField(null=True),
        ),
        migrations.RunSQL(
            (FOLDER / "0005_triggers.sql").read_text(),
            (FOLDER / "0005_triggers_reverse.sql").read_text(),
        ),
    ]
