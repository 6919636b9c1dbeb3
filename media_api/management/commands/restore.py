import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseFault

from media_api import holds
from media_api.backup import BackupRefused, Manifest, NotRestored, put_back, restore
from media_api.exceptions import ForeignBucket, PublicBucket, StorageUnavailable
from media_api.fsck import Finding, places

from .backup import summary, why
from .fsck import as_text

AGAIN = "Run it again: it goes on where it stopped."


class Command(BaseCommand):
    help = (
        "Bring a backup back into an empty database and bucket. Nothing is removed by the clock before --confirm. "
        "Exit code 0: all is back; 1: some of it is not; 2: it could not be done."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path, metavar="DIR", nargs="?")
        what = parser.add_mutually_exclusive_group()
        what.add_argument(
            "--objects",
            action="store_true",
            help="only what the bucket misses of the images in this database",
        )
        what.add_argument(
            "--confirm",
            action="store_true",
            help="database and bucket belong together: go on removing what is deleted",
        )

    def handle(
        self, *args: Any, folder: Path | None, objects: bool, confirm: bool, **options: Any
    ) -> None:
        if confirm == (folder is not None):
            raise CommandError("Say either DIR or --confirm.", returncode=2)
        self.count = 0
        try:
            if folder is None:
                self.confirm()
            elif objects:
                self.say(*put_back(folder, tell=self.tell, progress=self.progress))
            else:
                self.say(*restore(folder, tell=self.tell, progress=self.progress))
                self.compare()
        except (BackupRefused, NotRestored, ForeignBucket, PublicBucket) as error:
            raise CommandError(str(error), returncode=2) from error
        except (StorageUnavailable, DatabaseFault, OSError, KeyboardInterrupt) as error:
            raise CommandError(f"{why(error)} {AGAIN}", returncode=2) from error
        if self.count:
            sys.exit(1)

    def confirm(self) -> None:
        holds.confirm()
        self.stdout.write("What is deleted is removed again.")

    def say(self, manifest: Manifest, put: int) -> None:
        self.stdout.write(f"{summary(manifest)}. {put:,} objects were put back.")

    def compare(self) -> None:
        differ = sum(not place.agrees for place in places())
        self.count += differ
        self.stdout.write(
            f"{differ:,} folders of the bucket are not as the rows say. Restart app and worker. Nothing is removed "
            f"by the clock for now. {holds.CONFIRM}"
        )

    def tell(self, finding: Finding) -> None:
        self.count += 1
        self.stdout.write(as_text(finding))

    def progress(self, count: int) -> None:
        self.stderr.write(f"{count:,} images")
