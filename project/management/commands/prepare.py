"""What must be there before the first request: tables, the bucket, an account."""

from contextlib import suppress
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand

from media_api import holds
from media_api.epoch import take_bucket
from media_api.exceptions import ForeignBucket, StorageUnavailable


class Command(BaseCommand):
    help = "Run by `serve` at each start; prints a sign-in link for the account `admin`."

    requires_system_checks = []

    def handle(self, **options: Any) -> None:
        call_command("migrate", interactive=False, verbosity=0)
        with suppress(FileNotFoundError, ForeignBucket, StorageUnavailable):
            take_bucket()  # both lie in DATA: a database that is new beside it has taken another's place
        call_command("prepare_bucket", verbosity=0)
        call_command("user", "admin", "--staff", stdout=self.stdout)
        if reason := holds.reason():
            self.stderr.write(reason)
