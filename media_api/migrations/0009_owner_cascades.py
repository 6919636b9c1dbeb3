"""With an owner goes what is theirs, in the database itself: also what arrives while the owner is being deleted.

Django deletes the rows that it sees and then the owner. What an upload or a worker writes in between would forbid the
second. The names are those that Django gave the constraints.
"""

from django.db import migrations

CONSTRAINTS = {
    "media_api_upload": "media_api_upload_owner_id_d445ad71_fk_auth_user_id",
    "media_api_image": "media_api_image_owner_id_89612ba7_fk_auth_user_id",
    "media_api_usage": "media_api_usage_owner_id_628ab514_fk_auth_user_id",
    "media_api_quota": "media_api_quota_owner_id_56f788c4_fk_auth_user_id",
    "media_api_idempotencykey": "media_api_idempotencykey_owner_id_b59a9a80_fk_auth_user_id",
    "media_api_apikey": "media_api_apikey_owner_id_4d7a3041_fk_auth_user_id",
    "media_api_signinlink": "media_api_signinlink_owner_id_d6bcde97_fk_auth_user_id",
}


def statement(table: str, name: str, rule: str) -> str:
    return (
        f"ALTER TABLE {table} DROP CONSTRAINT {name}, ADD CONSTRAINT {name} FOREIGN KEY (owner_id) "
        f"REFERENCES auth_user (id) ON DELETE {rule} DEFERRABLE INITIALLY DEFERRED"
    )


class Migration(migrations.Migration):
    dependencies = [("media_api", "0008_damage")]

    operations = [
        migrations.RunSQL(statement(table, name, "CASCADE"), statement(table, name, "NO ACTION"))
        for table, name in CONSTRAINTS.items()
    ]
