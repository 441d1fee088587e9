"""The signal that ended an attempt, beside its exit code."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0006_guarantees_indexes")]

    operations = [
        migrations.AddField(
            model_name="attempt",
            name="signal",
            field=models.PositiveSmallIntegerField(null=True),
        ),
    ]
