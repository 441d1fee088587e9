"""Files of jobs that are being applied; triggers that take less time where many jobs change at once."""

from pathlib import Path

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import jobs.models.moments

FOLDER = Path(__file__).parent


class Migration(migrations.Migration):
    dependencies = [("jobs", "0014_output_in_chunks")]

    operations = [
        migrations.CreateModel(
            name="Apply",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("actor", models.CharField(max_length=150)),
                ("key", models.CharField(max_length=200, null=True)),
                ("filename", models.CharField(max_length=200)),
                ("source", models.TextField()),
                ("digest", models.CharField(max_length=64)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("checking", "its jobs are being checked"),
                            ("applied", "all its jobs are as the file says"),
                            ("refused", "nothing of it was applied"),
                            ("cancelled", "cancelled before it was applied"),
                        ],
                        db_default="checking",
                        default="checking",
                        max_length=9,
                    ),
                ),
                ("batch", models.BigIntegerField()),
                ("attempts", models.PositiveSmallIntegerField(db_default=1, default=1)),
                ("total", models.PositiveIntegerField(db_default=0, default=0)),
                ("checked", models.PositiveIntegerField(db_default=0, default=0)),
                ("results", models.JSONField(null=True)),
                ("error", models.TextField(db_default="", default="")),
                ("is_conflict", models.BooleanField(db_default=False, default=False)),
                ("created_at", jobs.models.moments.MomentField(db_default=django.db.models.functions.datetime.Now())),
                ("touched_at", jobs.models.moments.MomentField(db_default=django.db.models.functions.datetime.Now())),
                ("finished_at", jobs.models.moments.MomentField(null=True)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("key__isnull", False)), fields=("actor", "key"), name="jobs_apply_key_once"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="StagedJob",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("batch", models.BigIntegerField()),
                ("position", models.PositiveIntegerField()),
                ("name", models.CharField(max_length=100)),
                ("fields", models.JSONField()),
                ("schedule", models.JSONField(null=True)),
                ("job_id", models.BigIntegerField(null=True)),
                ("task_id", models.BigIntegerField(null=True)),
                ("differs", models.BooleanField(db_default=False, default=False)),
                ("is_moved", models.BooleanField(db_default=False, default=False)),
                ("has_other_policies", models.BooleanField(db_default=False, default=False)),
                ("has_other_exclusions", models.BooleanField(db_default=False, default=False)),
                ("is_unscheduled", models.BooleanField(db_default=False, default=False)),
                ("is_due_some_day", models.BooleanField(db_default=False, default=False)),
                ("crontab_id", models.BigIntegerField(null=True)),
                ("interval_id", models.BigIntegerField(null=True)),
                ("clocked_id", models.BigIntegerField(null=True)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("batch", "name"), name="jobs_stagedjob_name_once")
                ],
            },
        ),
        migrations.AlterField(
            model_name="job",
            name="project",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="jobs",
                to="jobs.project",
            ),
        ),
        migrations.RunSQL(
            (FOLDER / "0015_applies.sql").read_text(),
            (FOLDER / "0015_applies_reverse.sql").read_text(),
        ),
    ]
