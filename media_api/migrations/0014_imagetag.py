"""Lists by one tag, and by type, are read in their order, and the words of an image are written down.

The tags stand in a table of their own, kept by triggers: a GIN index finds the images with a tag as well, but hands
them out in no order, so that a page of a tag that many have would cost as much as all of them. Of a search for what
many have, rows are read in their order until enough have it, and each would have had its words made anew.
"""

import django.db.models.deletion
from django.conf import settings
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import migrations, models

import media_api.models

FORWARDS = """
CREATE FUNCTION image_tagged() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        DELETE FROM media_api_imagetag
        WHERE owner_id = OLD.owner_id AND tag = ANY (OLD.tags) AND date = OLD.date AND image_id = OLD.id;
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.trashed_at IS NULL THEN
        INSERT INTO media_api_imagetag (owner_id, tag, date, image_id)
        SELECT DISTINCT NEW.owner_id, tag, NEW.date, NEW.id FROM unnest(NEW.tags) AS tag;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER image_inserted_tagged AFTER INSERT ON media_api_image
    FOR EACH ROW WHEN (NEW.tags <> '{}') EXECUTE FUNCTION image_tagged();
CREATE TRIGGER image_updated_tagged AFTER UPDATE ON media_api_image
    FOR EACH ROW WHEN (
        (OLD.id, OLD.owner_id, OLD.date, OLD.tags, OLD.trashed_at IS NULL)
        IS DISTINCT FROM (NEW.id, NEW.owner_id, NEW.date, NEW.tags, NEW.trashed_at IS NULL)
    ) EXECUTE FUNCTION image_tagged();
CREATE TRIGGER image_deleted_tagged AFTER DELETE ON media_api_image
    FOR EACH ROW WHEN (OLD.tags <> '{}') EXECUTE FUNCTION image_tagged();
"""

BACKWARDS = """
DROP TRIGGER image_inserted_tagged ON media_api_image;
DROP TRIGGER image_updated_tagged ON media_api_image;
DROP TRIGGER image_deleted_tagged ON media_api_image;
DROP FUNCTION image_tagged();
"""

# What is there already. CREATE TRIGGER keeps everybody else from writing until the migration ends.
TAG = """
INSERT INTO media_api_imagetag (owner_id, tag, date, image_id)
SELECT DISTINCT owner_id, tag, date, id FROM media_api_image, unnest(tags) AS tag WHERE trashed_at IS NULL
"""


class Migration(migrations.Migration):
    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("media_api", "0013_bulk_removal"),
    ]

    operations = [
        migrations.CreateModel(
            name="ImageTag",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "owner",
                        "tag",
                        "date",
                        "image",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "owner",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("tag", models.CharField(max_length=64)),
                ("date", models.DateTimeField()),
                (
                    "image",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="media_api.image",
                    ),
                ),
            ],
        ),
        migrations.RunSQL(FORWARDS, BACKWARDS),
        migrations.RunSQL(TAG, migrations.RunSQL.noop),
        migrations.AddIndex(
            model_name="image",
            index=models.Index(
                "owner",
                "content_type",
                "date",
                "id",
                name="image_type",
                condition=models.Q(trashed_at__isnull=True),
            ),
        ),
        migrations.RemoveIndex(model_name="image", name="image_words"),
        migrations.AddField(
            model_name="image",
            name="words",
            field=models.GeneratedField(
                db_persist=True,
                expression=media_api.models.ImageWords("name", "tags"),
                output_field=SearchVectorField(),
            ),
        ),
        migrations.AddIndex(model_name="image", index=GinIndex("words", name="image_words")),
    ]
