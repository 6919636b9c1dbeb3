"""The triggers that write PendingDeletions, whoever deletes: the app, the admin, a cascade, or a person in psql."""

from django.db import migrations

FORWARDS = """
CREATE FUNCTION image_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO media_api_pendingdeletion (id) SELECT id FROM gone
    ON CONFLICT (id) DO UPDATE SET due_at = now(), removed_at = NULL;
    RETURN NULL;
END $$;

-- An upload that was kept has an image of its id by now: its objects stay.
CREATE FUNCTION upload_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO media_api_pendingdeletion (id)
    SELECT id FROM gone
    WHERE NOT EXISTS (SELECT FROM media_api_image WHERE media_api_image.id = gone.id)
    ON CONFLICT (id) DO UPDATE SET due_at = now(), removed_at = NULL;
    RETURN NULL;
END $$;

CREATE FUNCTION upload_ended() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO media_api_pendingdeletion (id)
    SELECT after.id FROM after JOIN before USING (id)
    WHERE after.state IN ('refused', 'expired') AND before.state NOT IN ('refused', 'expired')
    ON CONFLICT (id) DO UPDATE SET due_at = now(), removed_at = NULL;
    RETURN NULL;
END $$;

CREATE TRIGGER image_gone AFTER DELETE ON media_api_image
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION image_gone();
CREATE TRIGGER upload_gone AFTER DELETE ON media_api_upload
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION upload_gone();
CREATE TRIGGER upload_ended AFTER UPDATE ON media_api_upload
    REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION upload_ended();
"""

BACKWARDS = """
DROP TRIGGER upload_ended ON media_api_upload;
DROP TRIGGER upload_gone ON media_api_upload;
DROP TRIGGER image_gone ON media_api_image;
DROP FUNCTION upload_ended();
DROP FUNCTION upload_gone();
DROP FUNCTION image_gone();
"""


class Migration(migrations.Migration):
    dependencies = [("media_api", "0001_initial")]

    operations = [migrations.RunSQL(FORWARDS, BACKWARDS)]
