"""What runs by the clock finds that there is nothing to do without reading a table."""

from django.db import migrations, models
from django.db.models import F, Q


class Migration(migrations.Migration):
    dependencies = [("media_api", "0012_announced_leaves_nothing")]

    operations = [
        migrations.AddIndex(
            model_name="image",
            index=models.Index(
                F("trashed_at"), name="image_trashed", condition=Q(trashed_at__isnull=False)
            ),
        ),
        migrations.AddIndex(
            model_name="upload",
            index=models.Index(
                F("owner"),
                F("state"),
                name="upload_living",
                condition=Q(state__in=["announced", "staged"]),
            ),
        ),
    ]
