"""What each owner uses, kept by triggers, whoever writes: the app, the admin, a cascade, or a person in psql."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

# A statement locks the rows of its owners in one order, so that two of them cannot wait for each other; a row whose sum
# it does not change it leaves alone. What a missing row would give back was never counted: its owner is being deleted.
FORWARDS = """
CREATE FUNCTION use_space(owner integer, bytes numeric) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF bytes <> 0 THEN
        UPDATE media_api_usage SET used = used + bytes WHERE owner_id = owner;
        IF NOT FOUND AND bytes > 0 THEN
            INSERT INTO media_api_usage (owner_id, used) VALUES (owner, bytes)
            ON CONFLICT (owner_id) DO UPDATE SET used = media_api_usage.used + EXCLUDED.used;
        END IF;
    END IF;
END $$;

CREATE FUNCTION living_size(state text, size bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN state IN ('announced', 'staged') THEN size ELSE 0 END
$$;

CREATE FUNCTION upload_inserted_counted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM use_space(owner_id, bytes) FROM (
        SELECT owner_id, sum(living_size(state, size)) AS bytes FROM after
        GROUP BY owner_id ORDER BY owner_id
    ) AS changes;
    RETURN NULL;
END $$;

CREATE FUNCTION upload_updated_counted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM use_space(owner_id, bytes) FROM (
        SELECT owner_id, sum(change) AS bytes FROM (
            SELECT owner_id, living_size(state, size) AS change FROM after
            UNION ALL SELECT owner_id, -living_size(state, size) FROM before
        ) AS rows GROUP BY owner_id ORDER BY owner_id
    ) AS changes;
    RETURN NULL;
END $$;

CREATE FUNCTION upload_deleted_counted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM use_space(owner_id, -bytes) FROM (
        SELECT owner_id, sum(living_size(state, size)) AS bytes FROM before
        GROUP BY owner_id ORDER BY owner_id
    ) AS changes;
    RETURN NULL;
END $$;

CREATE FUNCTION image_inserted_counted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM use_space(owner_id, bytes) FROM (
        SELECT owner_id, sum(size) AS bytes FROM after GROUP BY owner_id ORDER BY owner_id
    ) AS changes;
    RETURN NULL;
END $$;

CREATE FUNCTION image_updated_counted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM use_space(owner_id, bytes) FROM (
        SELECT owner_id, sum(change) AS bytes FROM (
            SELECT owner_id, size AS change FROM after
            UNION ALL SELECT owner_id, -size FROM before
        ) AS rows GROUP BY owner_id ORDER BY owner_id
    ) AS changes;
    RETURN NULL;
END $$;

CREATE FUNCTION image_deleted_counted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM use_space(owner_id, -bytes) FROM (
        SELECT owner_id, sum(size) AS bytes FROM before GROUP BY owner_id ORDER BY owner_id
    ) AS changes;
    RETURN NULL;
END $$;

CREATE TRIGGER upload_inserted_counted AFTER INSERT ON media_api_upload
    REFERENCING NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION upload_inserted_counted();
CREATE TRIGGER upload_updated_counted AFTER UPDATE ON media_api_upload
    REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION upload_updated_counted();
CREATE TRIGGER upload_deleted_counted AFTER DELETE ON media_api_upload
    REFERENCING OLD TABLE AS before
    FOR EACH STATEMENT EXECUTE FUNCTION upload_deleted_counted();
CREATE TRIGGER image_inserted_counted AFTER INSERT ON media_api_image
    REFERENCING NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION image_inserted_counted();
CREATE TRIGGER image_updated_counted AFTER UPDATE ON media_api_image
    REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION image_updated_counted();
CREATE TRIGGER image_deleted_counted AFTER DELETE ON media_api_image
    REFERENCING OLD TABLE AS before
    FOR EACH STATEMENT EXECUTE FUNCTION image_deleted_counted();
"""

BACKWARDS = """
DROP TRIGGER upload_inserted_counted ON media_api_upload;
DROP TRIGGER upload_updated_counted ON media_api_upload;
DROP TRIGGER upload_deleted_counted ON media_api_upload;
DROP TRIGGER image_inserted_counted ON media_api_image;
DROP TRIGGER image_updated_counted ON media_api_image;
DROP TRIGGER image_deleted_counted ON media_api_image;
DROP FUNCTION upload_inserted_counted();
DROP FUNCTION upload_updated_counted();
DROP FUNCTION upload_deleted_counted();
DROP FUNCTION image_inserted_counted();
DROP FUNCTION image_updated_counted();
DROP FUNCTION image_deleted_counted();
DROP FUNCTION living_size(text, bigint);
DROP FUNCTION use_space(integer, numeric);
"""

# What is there already. CREATE TRIGGER keeps everybody else from writing until the migration ends.
COUNT = """
INSERT INTO media_api_usage (owner_id, used)
SELECT owner_id, sum(size) FROM (
    SELECT owner_id, living_size(state, size) AS size FROM media_api_upload
    UNION ALL SELECT owner_id, size FROM media_api_image
) AS counted GROUP BY owner_id;
"""


class Migration(migrations.Migration):
    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("media_api", "0003_key_expiry_and_kept_types"),
    ]

    operations = [
        migrations.CreateModel(
            name="Usage",
            fields=[
                (
                    "owner",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="usage",
                        serialize=False,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("used", models.BigIntegerField(help_text="Bytes.")),
            ],
            options={
                "verbose_name_plural": "usage",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("used__gte", 0)), name="usage_not_negative"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Quota",
            fields=[
                (
                    "owner",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="quota",
                        serialize=False,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "size",
                    models.BigIntegerField(
                        help_text="Bytes, instead of OWNER_QUOTA. 0: nothing may be uploaded."
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("size__gte", 0)), name="quota_not_negative"
                    )
                ],
            },
        ),
        migrations.RunSQL(FORWARDS, BACKWARDS),
        migrations.RunSQL(COUNT, migrations.RunSQL.noop),
    ]
