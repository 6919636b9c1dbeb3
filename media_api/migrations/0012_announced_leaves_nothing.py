"""An upload that ends before it is staged leaves nothing for a purge: only a worker writes below `images/`, and only of
what is staged. What is expired was announced until then, or was written down when it ended."""

from django.db import migrations

UPLOAD_GONE = """
CREATE OR REPLACE FUNCTION upload_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO media_api_pendingdeletion (id)
    SELECT id FROM gone
    WHERE {condition}NOT EXISTS (SELECT FROM media_api_image WHERE media_api_image.id = gone.id)
    ON CONFLICT (id) DO UPDATE SET due_at = now(), removed_at = NULL;
    RETURN NULL;
END $$;
"""
UPLOAD_ENDED = """
CREATE OR REPLACE FUNCTION upload_ended() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO media_api_pendingdeletion (id)
    SELECT after.id FROM after JOIN before USING (id)
    WHERE after.state IN ('refused', 'expired') AND {condition}
    ON CONFLICT (id) DO UPDATE SET due_at = now(), removed_at = NULL;
    RETURN NULL;
END $$;
"""
FORWARDS = [
    UPLOAD_GONE.format(condition="gone.state IN ('staged', 'refused') AND "),
    UPLOAD_ENDED.format(condition="before.state = 'staged'"),
]
BACKWARDS = [
    UPLOAD_GONE.format(condition=""),
    UPLOAD_ENDED.format(condition="before.state NOT IN ('refused', 'expired')"),
]


class Migration(migrations.Migration):
    dependencies = [("media_api", "0011_holds")]

    operations = [
        migrations.RunSQL(forwards, backwards)
        for forwards, backwards in zip(FORWARDS, BACKWARDS, strict=True)
    ]
