import os
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseFault

from media_api.backup import BackupRefused, Manifest, back_up, look_through
from media_api.exceptions import ForeignBucket, StorageUnavailable
from media_api.fsck import Finding

from .fsck import as_text

AGAIN = "Run it again: it goes on where it stopped. What was in the folder before is as whole as it was."


class Command(BaseCommand):
    help = (
        "Copy the rows, then the objects that are new, into a folder. "
        "Exit code 0: all is there; 1: some objects are not; 2: it could not be done, and there is no new backup."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path, metavar="DIR")
        what = parser.add_mutually_exclusive_group()
        what.add_argument(
            "--prune", action="store_true", help="remove the files of images that are purged"
        )
        what.add_argument(
            "--verify", action="store_true", help="read what is there, and copy nothing"
        )

    def handle(self, *args: Any, folder: Path, prune: bool, verify: bool, **options: Any) -> None:
        self.count = 0
        try:
            if verify:
                manifest = look_through(folder, tell=self.tell, progress=self.progress)
                self.stdout.write(
                    f"{summary(manifest)}. {self.count} files are missing or damaged."
                )
            else:
                manifest, copied = back_up(
                    folder, tell=self.tell, progress=self.progress, prune=prune
                )
                self.stdout.write(f"{summary(manifest)}. {copied:,} objects were copied.")
        except (BackupRefused, ForeignBucket) as error:
            raise CommandError(str(error), returncode=2) from error
        except PermissionError as error:
            raise CommandError(
                f"{error.filename} is not ours to use ({error.strerror}): the folder must belong to the user"
                f" with the number {os.geteuid()}.",
                returncode=2,
            ) from error
        except (StorageUnavailable, DatabaseFault, OSError, KeyboardInterrupt) as error:
            raise CommandError(f"{why(error)} {AGAIN}", returncode=2) from error
        if self.count:
            sys.exit(1)

    def tell(self, finding: Finding) -> None:
        self.count += 1
        self.stdout.write(as_text(finding))

    def progress(self, count: int) -> None:
        self.stderr.write(f"{count:,} images")


def why(error: BaseException) -> str:
    if isinstance(error, FileNotFoundError) and error.errno is None:  # of the bucket, not of a disk
        return "The bucket is not there, or was never claimed."
    return str(error).strip() or "Stopped."


def summary(manifest: Manifest) -> str:
    damaged = f", without {manifest.damaged:,} that were damaged" if manifest.damaged else ""
    return (
        f"The backup of {manifest.made_at} has {manifest.images.count:,} images: {manifest.objects:,} objects, "
        f"{manifest.size:,} bytes{damaged}"
    )
