from typing import Any

from django.core.management.base import BaseCommand, CommandError

from media_api.epoch import claim_bucket, require_private_bucket
from media_api.exceptions import ForeignBucket, PublicBucket, StorageUnavailable


class Command(BaseCommand):
    help = "Make the bucket if there is none, and write into it which installation it belongs to."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            claim_bucket()
            require_private_bucket()
        except (ForeignBucket, PublicBucket, StorageUnavailable) as error:
            raise CommandError(str(error)) from error
