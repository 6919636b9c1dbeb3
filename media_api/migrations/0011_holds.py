"""What keeps the sweeps from removing anything: a running backup, a restore that nobody has confirmed."""

from django.db import migrations, models
from django.db.models.functions import Now


class Migration(migrations.Migration):
    dependencies = [("media_api", "0010_set_aside")]

    operations = [
        migrations.CreateModel(
            name="Hold",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("began_at", models.DateTimeField(db_default=Now())),
                ("expires_at", models.DateTimeField(help_text="Put off while the backup runs.")),
            ],
        ),
        migrations.AddField(
            model_name="installation",
            name="turn",
            field=models.PositiveBigIntegerField(default=0, editable=False),
        ),
        migrations.AddField(
            model_name="installation",
            name="restored_at",
            field=models.DateTimeField(
                editable=False,
                help_text="From here on nothing is removed by the clock, until an operator has confirmed.",
                null=True,
            ),
        ),
    ]
