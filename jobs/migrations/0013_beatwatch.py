"""Since when beats have looked at this database without a gap. See jobs/store/beatwatch.py."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("jobs", "0012_rejected_messages")]

    operations = [
        migrations.RunSQL(
            """
            CREATE UNLOGGED TABLE jobs_beatwatch (
                id smallint CONSTRAINT jobs_beatwatch_one PRIMARY KEY CHECK (id = 1),
                since timestamptz NOT NULL,
                seen_at timestamptz NOT NULL
            )
            """,
            "DROP TABLE jobs_beatwatch",
        ),
    ]
