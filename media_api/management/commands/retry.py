import uuid
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from media_api import queue, retries
from media_api.models import Upload


class Command(BaseCommand):
    help = "Try again, after a fix: uploads that are set aside, and jobs that were given up. Safe to repeat."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "ids", nargs="*", type=uuid.UUID, metavar="ID", help="of uploads; all, if none is named"
        )

    def handle(self, *args: Any, ids: list[uuid.UUID], **options: Any) -> None:
        staged = Upload.objects.filter(id__in=ids, state=Upload.State.STAGED)
        missing = set(ids) - set(staged.values_list("id", flat=True))
        self.stdout.write(f"Uploads that are tried again: {retries.retry(ids or None)}.")
        if not ids:
            self.stdout.write(f"Jobs that are tried again: {queue.retry_failed()}.")
        if missing:
            raise CommandError(f"No staged upload: {', '.join(sorted(map(str, missing)))}.")
