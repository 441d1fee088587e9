"""What the database itself keeps true: former definitions, edits of schedules, and room for updates."""

from pathlib import Path

from django.db import migrations

FOLDER = Path(__file__).parent


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0001_initial"),
        ("django_celery_beat", "0019_alter_periodictasks_options"),
    ]

    operations = [
        migrations.RunSQL(
            (FOLDER / "0002_triggers.sql").read_text(), (FOLDER / "0002_triggers_reverse.sql").read_text()
        ),
    ]
