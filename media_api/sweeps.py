"""What removes by the clock what was left over: uploads that nobody completed, and bytes that nobody owns.

All of it may run twice at the same time. (What a deleted image leaves is removed by `images.purge`.)
"""

from datetime import timedelta

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from .faults import fault_point
from .holds import is_unconfirmed
from .models import IdempotencyKey, Throttle, Upload, database_now, staging_key
from .storage import image_storage
from .uploads import clear_staging

log = structlog.get_logger(__name__)

BATCH = 500


def expire_overdue() -> int:
    """End what was announced and never completed; tell of it for a day. How many there were."""
    overdue = Upload.objects.overdue(database_now())
    if overdue.exists() and is_unconfirmed():
        return 0
    expired = 0
    while batch := expire_batch():
        clear(batch)
        expired += len(batch)
    Upload.objects.finished_before(database_now()).delete()
    return expired


def expire_batch() -> list[Upload]:
    with transaction.atomic():
        now = database_now()
        overdue = list(Upload.objects.overdue(now).select_for_update(skip_locked=True)[:BATCH])
        fault_point("overdue_found")
        Upload.objects.filter(id__in=[upload.id for upload in overdue]).update(
            state=Upload.State.EXPIRED,
            expires_at=now + timedelta(seconds=settings.REFUSAL_LIFETIME),
        )
    fault_point("expired")
    for upload in overdue:
        log.info("upload_expired", upload_id=str(upload.id))
    return overdue


def clear(expired: list[Upload]) -> None:
    """Remove what has arrived of them: of most nothing has. What is still on its way is left to `sweep_staging`."""
    arrived = set(image_storage().keys("staging/"))
    clear_staging([each for each in expired if each.multipart_id or each.key in arrived])


def sweep_staging() -> int:
    """Remove every object under `staging/` that no living Upload explains. How many there were.

    List first, then look for the rows: a row is older than any byte under its key and ids are never used twice, so what
    has no living row after the listing never will.
    """
    if is_unconfirmed():
        return 0
    storage = image_storage()
    keys = list(storage.keys("staging/"))
    open_parts = [(key, part) for key, part in storage.open_parts() if key.startswith("staging/")]
    fault_point("staging_listed")
    living = {
        staging_key(upload_id) for upload_id in Upload.objects.living().values_list("id", flat=True)
    }
    left_over = [key for key in keys if key not in living]
    fault_point("left_over_found")
    storage.remove(left_over)
    for key, multipart_id in open_parts:
        if key not in living:
            storage.abort_parts(key, multipart_id)
    return len(left_over)


def forget_idempotency_keys() -> int:
    """Those that are a day old; a request that comes with one then is no repeat. How many there were."""
    forgotten, _ = IdempotencyKey.objects.filter(expires_at__lt=Now()).delete()
    return forgotten


def forget_throttles() -> int:
    """What is full again is the same as what was never asked of. How many there were."""
    forgotten, _ = Throttle.objects.filter(full_at__lt=Now()).delete()
    return forgotten
