from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("media_api", "0005_throttle")]

    operations = [
        migrations.AddField(
            model_name="image",
            name="stripped_path",
            field=models.CharField(
                blank=True,
                default="",  # of what was kept before, nobody looked
                help_text="Key of the same picture without metadata; the original's where that carries none.",
                max_length=100,
            ),
            preserve_default=False,
        ),
    ]
