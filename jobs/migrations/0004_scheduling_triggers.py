"""What the database keeps true, anew: pauses that keep a schedule's place, former schedules, limits."""

from pathlib import Path

from django.db import migrations

FOLDER = Path(__file__).parent


def read(name: str) -> str:
    return (FOLDER / name).read_text()


class Migration(migrations.Migration):
    dependencies = [("jobs", "0003_scheduling")]

    operations = [
        migrations.RunSQL(
            read("0002_triggers_reverse.sql") + read("0004_triggers.sql"),
            read("0004_triggers_reverse.sql") + read("0002_triggers.sql"),
        ),
    ]
