"""What an image's objects should be, when they were last read, and whether the original is damaged."""

from django.db import migrations, models
from django.db.models.functions import Now


class Migration(migrations.Migration):
    dependencies = [("media_api", "0007_idempotency_key")]

    operations = [
        migrations.AddField(
            model_name="image",
            name="derived",
            field=models.JSONField(
                blank=True,
                default=dict,
                help_text=(
                    "Size and SHA-256 of the stripped copy and of each rendition, by the last part of the key."
                ),
            ),
        ),
        migrations.AddField(
            model_name="image",
            name="checked_at",
            field=models.DateTimeField(
                db_default=Now(),
                help_text="When the bytes in the bucket were last read and compared.",
            ),
        ),
        migrations.AddField(
            model_name="image",
            name="damaged_at",
            field=models.DateTimeField(
                blank=True,
                help_text="When the original was found missing, or other than it was uploaded.",
                null=True,
            ),
        ),
        migrations.AddIndex(
            model_name="image",
            index=models.Index(models.F("checked_at"), name="image_checked"),
        ),
        # What is there was read when it was uploaded.
        migrations.RunSQL("UPDATE media_api_image SET checked_at = date", migrations.RunSQL.noop),
    ]
