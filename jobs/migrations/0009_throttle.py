"""Where failed sign-ins and tokens are counted."""

from django.db import migrations, models

import jobs.models.moments


class Migration(migrations.Migration):
    dependencies = [("jobs", "0008_run_batchable")]

    operations = [
        migrations.CreateModel(
            name="Throttle",
            fields=[
                ("key", models.CharField(help_text="A keyed hash: names and addresses stay private.", max_length=64, primary_key=True, serialize=False)),
                ("until", jobs.models.moments.MomentField(db_index=True, help_text="Each failure moves it further; when it is past, the row says nothing.")),
            ],
        ),
    ]
