"""What it means that processes are still running at the end of a run, and the warning that an attempt carries then.

Both columns have defaults in the database: workers and beats of the version before go on beside it.
"""

from pathlib import Path

from django.db import migrations, models

FOLDER = Path(__file__).parent


class Migration(migrations.Migration):
    dependencies = [("jobs", "0009_throttle")]

    operations = [
        migrations.AddField(
            model_name="attempt",
            name="warning",
            field=models.TextField(blank=True, db_default="", default=""),
        ),
        migrations.AddField(
            model_name="job",
            name="background",
            field=models.CharField(
                choices=[
                    ("warn", "kill them, and warn"),
                    ("fail", "kill them, and fail the run"),
                    ("ignore", "kill them"),
                ],
                db_default="warn",
                default="warn",
                max_length=6,
            ),
        ),
        migrations.RunSQL(
            (FOLDER / "0010_triggers.sql").read_text(),
            (FOLDER / "0010_triggers_reverse.sql").read_text(),
        ),
    ]
