"""Staged uploads without a job get one again: by the clock if it was lost, by command if they were set aside.

An upload is staged in the transaction that adds its job, and a job that ends has kept, refused or set it aside before.
So what waits has a job, unless somebody has emptied the queue.
"""

import uuid
from collections.abc import Collection

import structlog
from django.db import transaction

from .faults import fault_point
from .models import Upload, UploadQuerySet
from .queue import arguments, enqueue

log = structlog.get_logger(__name__)

BATCH = 500


def enqueue_forgotten() -> int:
    """Those that wait and have no job: the net below the queue. How many there were."""
    return _enqueue(Upload.objects.waiting())


def retry(ids: Collection[uuid.UUID] | None = None) -> int:
    """Those that are set aside, and those that have no job: all, or of these. They begin anew. How many there were."""
    staged = Upload.objects.filter(state=Upload.State.STAGED)
    return _enqueue(staged if ids is None else staged.filter(id__in=ids))


def _enqueue(uploads: UploadQuerySet) -> int:
    """Those without a job, oldest first. Compared here, as without statistics a join takes Postgres minutes.

    Uploads are read before jobs: a job that has ended in between has left nothing that waits.
    """
    ids = list(uploads.order_by("staged_at").values_list("id", flat=True))
    has_job = arguments("examine", "upload_id") if ids else set()
    fault_point("waiting_listed")
    without = [upload_id for upload_id in ids if str(upload_id) not in has_job]
    batches = [without[start : start + BATCH] for start in range(0, len(without), BATCH)]
    return sum(_enqueue_batch(uploads.filter(id__in=batch)) for batch in batches)


def _enqueue_batch(uploads: UploadQuerySet) -> int:
    """Behind the jobs of uploads that came in their turn."""
    with transaction.atomic():
        locked = uploads.order_by("staged_at").select_for_update(skip_locked=True)
        ids = list(locked.values_list("id", flat=True))
        Upload.objects.filter(id__in=ids).update(
            attempts=0, crashes=0, error_code="", error_detail=""
        )
        enqueue("examine", "upload_id", ids, priority=0)
    for upload_id in ids:
        log.info("upload_enqueued_again", upload_id=str(upload_id))
    return len(ids)
