from typing import Any

import structlog
from django.core.management.base import CommandError
from django.db import DatabaseError, InterfaceError, connection
from procrastinate.contrib.django.management.commands import procrastinate

from media_api.checks import TAG
from media_api.epoch import require_own_bucket, require_private_bucket
from media_api.exceptions import ForeignBucket, PublicBucket, StorageUnavailable
from media_api.holds import is_unconfirmed

log = structlog.get_logger(__name__)


class Command(procrastinate.Command):
    """The library's own, but a worker does not touch a bucket that is not ours, or that anybody can read."""

    requires_system_checks = [
        TAG
    ]  # the others load all views, and are of the code, not of settings or machine

    def handle(self, *args: Any, **options: Any) -> None:
        if options["command"] == "worker":
            self._refuse_wrong_bucket()
        super().handle(*args, **options)

    def _refuse_wrong_bucket(self) -> None:
        """A bucket or database that is merely down stops no worker: its jobs wait for them."""
        try:
            require_own_bucket()
            require_private_bucket()
            is_unconfirmed()  # notices an older database before a job of it runs
        except (ForeignBucket, PublicBucket) as error:
            raise CommandError(str(error)) from error
        except FileNotFoundError as error:
            raise CommandError("The bucket was never prepared: run `prepare_bucket`.") from error
        except (StorageUnavailable, DatabaseError, InterfaceError) as error:
            log.warning("bucket_not_looked_at", reason=type(error).__name__)
        finally:
            connection.close()
