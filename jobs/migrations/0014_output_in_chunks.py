"""Output is stored in chunks, while it is printed."""

import django.db.models.deletion
from django.db import migrations, models

import jobs.models.moments

# Before, an object held all output up to 512 KiB, or the first and the last 256 KiB with a line between.
# Chunks that a slot sent on a connection that broke may have stayed beside it.
KEEP_STORED = """
DELETE FROM jobs_outputchunk c USING jobs_attempt a
WHERE a.output_key IS NOT NULL AND a.run_id = c.run_id AND a.number = c.attempt;
INSERT INTO jobs_outputchunk (run_id, attempt, start, size, key)
SELECT run_id, number, 0, CASE WHEN output_total <= 524288 THEN output_total ELSE 524288
    + octet_length(format(E'\\n[… %s bytes left out …]\\n', output_total - 524288)) END, output_key
FROM jobs_attempt WHERE output_key IS NOT NULL
"""
# Its bytes are mostly compressed badly, and moved away soon.
STORE_AS_IT_IS = "ALTER TABLE jobs_outputchunk ALTER COLUMN data SET STORAGE EXTERNAL"
AS_BEFORE = "ALTER TABLE jobs_outputchunk ALTER COLUMN data SET STORAGE EXTENDED"


class Migration(migrations.Migration):
    dependencies = [("jobs", "0013_beatwatch")]

    operations = [
        migrations.CreateModel(
            name="OutputStore",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("token", models.UUIDField(unique=True)),
                ("host", models.CharField(max_length=255)),
                ("seen_at", jobs.models.moments.MomentField()),
            ],
        ),
        migrations.AlterField(
            model_name="outputchunk",
            name="start",
            field=models.BigIntegerField(help_text="Offset of the first byte."),
        ),
        migrations.AlterField(model_name="outputchunk", name="data", field=models.BinaryField(null=True)),
        migrations.AddField(
            model_name="outputchunk",
            name="size",
            field=models.IntegerField(default=0, help_text="Bytes."),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name="outputchunk",
            name="key",
            field=models.CharField(help_text="The name of the object.", max_length=200, null=True),
        ),
        migrations.AddField(
            model_name="outputchunk",
            name="store",
            field=models.ForeignKey(
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="chunks",
                to="jobs.outputstore",
            ),
        ),
        migrations.RunSQL("UPDATE jobs_outputchunk SET size = octet_length(data)", migrations.RunSQL.noop),
        migrations.RunSQL(KEEP_STORED, migrations.RunSQL.noop),
        # Constraints are checked at the end of a transaction, and no table is changed before they are.
        migrations.RunSQL("SET CONSTRAINTS ALL IMMEDIATE", migrations.RunSQL.noop),
        migrations.RunSQL(STORE_AS_IT_IS, AS_BEFORE),
        migrations.RemoveField(model_name="attempt", name="output_key"),
        migrations.AddConstraint(
            model_name="outputchunk",
            constraint=models.CheckConstraint(
                condition=models.Q(("data", None), ("key", None), _connector="XOR"),
                name="jobs_outputchunk_is_somewhere",
            ),
        ),
        migrations.AddIndex(
            model_name="outputchunk",
            index=models.Index(
                condition=models.Q(("key", None)), fields=["run", "attempt"], name="jobs_outputchunk_unstored"
            ),
        ),
        migrations.AddIndex(
            model_name="outputchunk",
            index=models.Index(
                condition=models.Q(("key__isnull", False)), fields=["key"], name="jobs_outputchunk_object"
            ),
        ),
    ]
