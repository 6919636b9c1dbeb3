"""A PendingDeletion knows the objects of its image; what runs by the clock finds nothing without reading a table."""

from django.contrib.postgres.fields import ArrayField
from django.db import migrations, models
from django.db.models import F, Q

IMAGE_GONE = """
CREATE OR REPLACE FUNCTION image_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO media_api_pendingdeletion (id, keys)
    SELECT id, ARRAY(
        SELECT path
        UNION SELECT stripped_path WHERE stripped_path <> ''
        UNION SELECT prefix || 'image.json'
        UNION SELECT prefix || side || '.webp' FROM unnest(sides) AS side
    )
    FROM gone, LATERAL (SELECT 'images/' || id || '/' AS prefix) AS place
    ON CONFLICT (id) DO UPDATE SET due_at = now(), removed_at = NULL, keys = EXCLUDED.keys;
    RETURN NULL;
END $$;
"""
IMAGE_GONE_BEFORE = """
CREATE OR REPLACE FUNCTION image_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO media_api_pendingdeletion (id) SELECT id FROM gone
    ON CONFLICT (id) DO UPDATE SET due_at = now(), removed_at = NULL;
    RETURN NULL;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("media_api", "0012_announced_leaves_nothing")]

    operations = [
        migrations.AddField(
            model_name="pendingdeletion",
            name="keys",
            field=ArrayField(
                models.TextField(),
                db_default=[],
                editable=False,
                help_text="What its row says it had.",
            ),
        ),
        migrations.RunSQL(IMAGE_GONE, IMAGE_GONE_BEFORE),
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
