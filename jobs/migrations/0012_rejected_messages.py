"""Counts of messages that workers rejected."""

from django.db import migrations, models

import jobs.models.moments


class Migration(migrations.Migration):
    dependencies = [("jobs", "0011_instants")]

    operations = [
        migrations.CreateModel(
            name="RejectedMessages",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("queue", models.CharField(max_length=255)),
                ("reason", models.CharField(max_length=100)),
                ("count", models.BigIntegerField()),
                ("first_at", jobs.models.moments.MomentField()),
                ("last_at", jobs.models.moments.MomentField()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("queue", "reason"), name="jobs_rejectedmessages_one"),
                ],
            },
        ),
    ]
