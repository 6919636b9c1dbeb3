from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("media_api", "0004_usage")]

    operations = [
        migrations.CreateModel(
            name="Throttle",
            fields=[
                ("key", models.TextField(primary_key=True, serialize=False)),
                ("full_at", models.DateTimeField(help_text="When the whole quota is there again.")),
            ],
        ),
        # Written with each request, and nothing is lost with it: no log to write, no disk to wait for. A row that is
        # written anew finds room on its page.
        migrations.RunSQL(
            "ALTER TABLE media_api_throttle SET UNLOGGED;"
            "ALTER TABLE media_api_throttle SET (fillfactor = 50);",
            migrations.RunSQL.noop,
        ),
    ]
