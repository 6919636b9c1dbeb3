"""A staged upload may have an error: it is set aside. Crashes of a decoder are counted apart from other attempts."""

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("media_api", "0009_owner_cascades")]

    operations = [
        migrations.AddField(
            model_name="upload",
            name="crashes",
            field=models.PositiveSmallIntegerField(
                default=0, help_text="Of a decoder that read it."
            ),
        ),
        migrations.AlterField(
            model_name="upload",
            name="attempts",
            field=models.PositiveSmallIntegerField(
                default=0, help_text="To examine it, less those that an outage ended."
            ),
        ),
        migrations.RemoveConstraint(model_name="upload", name="upload_refused_has_code"),
        migrations.AddConstraint(
            model_name="upload",
            constraint=models.CheckConstraint(
                condition=Q(state__in=["announced", "expired"], error_code="")
                | Q(state="staged", error_code__in=["", "internal"])
                | Q(state="refused") & ~Q(error_code=""),
                name="upload_error_fits_state",
            ),
        ),
        # Backwards, first of all: older code knows no upload that is set aside.
        migrations.RunSQL(
            migrations.RunSQL.noop,
            "UPDATE media_api_upload SET error_code = '', error_detail = '' WHERE state = 'staged'",
        ),
    ]
