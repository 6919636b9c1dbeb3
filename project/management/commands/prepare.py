"""What must be there before the first request: tables, the bucket, an account."""

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Run by `serve` at each start; prints a sign-in link for the account `admin`."

    requires_system_checks = []

    def handle(self, **options: Any) -> None:
        call_command("migrate", interactive=False, verbosity=0)
        call_command("prepare_bucket", verbosity=0)
        call_command("user", "admin", "--staff", stdout=self.stdout)
