"""Instants count by their nominal moment, and what became of a deleted schedule stays known.

Former schedules name their job and keep when they began, so that they can be read after their schedule is gone.
"""

from pathlib import Path

import django.db.models.deletion
from django.db import migrations, models

FOLDER = Path(__file__).parent

FILL = """
DELETE FROM jobs_formerschedule f WHERE NOT EXISTS (
    SELECT FROM jobs_schedule s WHERE s.periodic_task_id = f.schedule_id AND s.job_id IS NOT NULL);
UPDATE jobs_formerschedule f SET job_id = s.job_id, begins = b.begins,
    unrecorded = coalesce((f.rule->>'unseen')::boolean, false)
FROM jobs_schedule s, (
    SELECT o.id, coalesce(lag(o.until) OVER (PARTITION BY o.schedule_id ORDER BY o.until, o.id), a.anchor) AS begins
    FROM jobs_formerschedule o JOIN jobs_schedule a ON a.periodic_task_id = o.schedule_id) AS b
WHERE s.periodic_task_id = f.schedule_id AND b.id = f.id;
UPDATE jobs_schedule SET held_until = clock_timestamp() WHERE held_why <> '' AND NOT paused AND NOT switched_off;
"""


class Migration(migrations.Migration):
    dependencies = [("jobs", "0010_background")]

    operations = [
        migrations.AddField(
            model_name="schedule",
            name="held_until",
            field=models.DateTimeField(null=True, editable=False),
        ),
        migrations.AddField(
            model_name="formerschedule",
            name="job",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="former_schedules",
                to="jobs.job",
            ),
        ),
        migrations.AddField(model_name="formerschedule", name="begins", field=models.DateTimeField(null=True)),
        migrations.AddField(
            model_name="formerschedule", name="unrecorded", field=models.BooleanField(db_default=False, default=False)
        ),
        migrations.AddField(
            model_name="formerschedule", name="transaction", field=models.BigIntegerField(null=True)
        ),
        migrations.AddField(model_name="formerschedule", name="deleted_by", field=models.TextField(null=True)),
        migrations.AddField(
            model_name="formerschedule",
            name="deleted_outside",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
        migrations.AlterField(
            model_name="formerschedule",
            name="job",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="former_schedules",
                to="jobs.job",
            ),
        ),
        migrations.AlterField(model_name="formerschedule", name="begins", field=models.DateTimeField()),
        migrations.AddIndex(
            model_name="formerschedule",
            index=models.Index(fields=["job", "until"], name="jobs_formerschedule_of_job"),
        ),
        migrations.AddIndex(
            model_name="formerschedule",
            index=models.Index(
                condition=models.Q(("deleted_by__isnull", False)),
                fields=["job", "until"],
                name="jobs_formerschedule_deleted",
            ),
        ),
        migrations.AddIndex(
            model_name="formerschedule",
            index=models.Index(condition=models.Q(("unrecorded", True)), fields=["id"], name="jobs_formerschedule_unrecorded"),
        ),
        migrations.RunSQL(
            (FOLDER / "0011_instants.sql").read_text(),
            (FOLDER / "0011_instants_reverse.sql").read_text(),
        ),
    ]
