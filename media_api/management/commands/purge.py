from typing import Any

from django.core.management.base import BaseCommand

from media_api import holds, images, sweeps


class Command(BaseCommand):
    help = "Run the sweeps now, instead of waiting for the worker's clock."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"{sweeps.expire_overdue()} uploads expired")
        self.stdout.write(f"{images.empty_old_trash()} images deleted from the trash")
        self.stdout.write(f"{sweeps.sweep_staging()} objects removed from staging/")
        self.stdout.write(f"{images.purge_due()} deletions looked after")
        if reason := holds.reason():
            self.stdout.write(reason)
