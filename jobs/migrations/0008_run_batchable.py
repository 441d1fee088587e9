"""Which runs may share a batch. Runs that exist already are claimed one by one."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0007_signals")]

    operations = [
        migrations.AddField(
            model_name="run",
            name="batchable",
            field=models.BooleanField(db_default=False, default=False),
        ),
    ]
