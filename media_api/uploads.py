"""The client's half of an upload: announce, send, complete.

1. `announce` writes the row before any byte can exist under its key. The client then sends the bytes to the bucket, or
   `receive` does it for a client that sends them to us.
2. `complete` finds the bytes in the bucket, marks the upload staged and enqueues its job, in one transaction.
3. The worker does the rest (`examination`), or the time runs out (`sweeps`).

Stopping anywhere leaves a row that says what may lie in the bucket: the job runs again, or a sweep removes it. Every
step may run twice at the same time; the transaction that ends the Upload has one winner.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, BinaryIO

import structlog
from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now

from . import idempotency
from .exceptions import (
    AlreadyKept,
    Empty,
    NotFound,
    NotStaged,
    Refusal,
    StorageUnavailable,
    TooLarge,
    UploadExpired,
    verdict_of,
)
from .faults import fault_point
from .models import (
    IdempotencyKey,
    Image,
    Upload,
    clean_content_type,
    clean_name,
    database_now,
)
from .presign import LONGEST
from .queue import MOST_WAITING, enqueue
from .quotas import require_room
from .storage import Part, image_storage

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Announcement:
    """What a client says of the bytes that it is going to send. Nothing of it is believed."""

    name: str
    size: int
    content_type: str
    sha256: str = ""
    tags: Sequence[str] = ()


def announce(
    owner: User, announcement: Announcement, *, key: IdempotencyKey | None = None
) -> Upload:
    """Write the row of an upload; above PART_THRESHOLD bytes it is to be sent in parts.

    With a key that was seen before it is the upload of then, as it is now. Raises Empty, TooLarge and QuotaExceeded;
    with a key also IdempotencyConflict, InProgress and Gone.
    """
    in_parts = announcement.size > settings.PART_THRESHOLD
    draft = drafted(owner, announcement, in_parts=in_parts)
    upload = begin(draft, key, is_leased=in_parts)
    if upload.state == Upload.State.ANNOUNCED and upload.part_size and not upload.multipart_id:
        with withdrawn_on_failure(upload, key):
            begin_parts(upload)
    return upload


def drafted(owner: User, announcement: Announcement, *, in_parts: bool) -> Upload:
    """The row of an upload, not yet written. Raises Empty and TooLarge."""
    if announcement.size <= 0:
        raise Empty
    if announcement.size > settings.MAX_UPLOAD_SIZE:
        raise TooLarge(f"It is larger than {settings.MAX_UPLOAD_SIZE:,} bytes.")
    return Upload(
        owner=owner,
        name=clean_name(announcement.name),
        tags=list(announcement.tags),
        size=announcement.size,
        content_type=clean_content_type(announcement.content_type),
        claimed_sha256=announcement.sha256,
        part_size=settings.PART_SIZE if in_parts else 0,
    )


def begin(draft: Upload, key: IdempotencyKey | None, *, is_leased: bool) -> Upload:
    """Write the row and bind it to the key, if there is one: or the upload that the key is bound to already."""
    with owner_is_there(draft.owner), transaction.atomic():
        if key and (first := idempotency.bind(key, draft, is_leased=is_leased)) is not draft:
            return first
        write(draft)  # counted, and nobody else of this owner until the end
        require_room(draft.owner)
        fault_point("announcing")
    fault_point("announced")
    log.info("upload_announced", upload_id=str(draft.id), size=draft.size)
    return draft


def write(draft: Upload) -> None:
    """Insert the row. From this moment, by the database's clock, it has its time to be sent."""
    lifetime = timedelta(
        seconds=settings.PARTS_LIFETIME if draft.part_size else settings.UPLOAD_LIFETIME
    )
    draft.expires_at = Now() + lifetime
    draft.save(force_insert=True)
    draft.expires_at = draft.created_at + lifetime  # the same, as both are of one statement


@contextmanager
def owner_is_there(owner: User) -> Iterator[None]:
    """Of an owner who was deleted meanwhile nothing is written, which the commit finds out. Raises NotFound."""
    try:
        yield
    except IntegrityError as error:
        if User.objects.filter(id=owner.id).exists():
            raise
        raise NotFound from error


@contextmanager
def withdrawn_on_failure(upload: Upload, key: IdempotencyKey | None) -> Iterator[None]:
    """What the client never heard of shall not stand in its list: the sweep removes what may have arrived.

    With a key a repeat begins anew; but if one has taken over meanwhile, the upload is not ours to withdraw.
    """
    try:
        yield
    except StorageUnavailable:
        with transaction.atomic():
            if key is None or idempotency.release(key):
                log.info("upload_withdrawn", upload_id=str(upload.id))
                upload.delete()
        raise


def begin_parts(upload: Upload) -> None:
    """Let the store begin an upload in parts. Of two at the same time the first one counts, also for the second."""
    storage = image_storage()
    begun = storage.begin_parts(upload.key, content_type=upload.content_type)
    fault_point("parts_begun")
    row = Upload.objects.filter(id=upload.id)
    if row.filter(multipart_id=upload.multipart_id).update(multipart_id=begun):
        upload.multipart_id = begun
        return
    storage.abort_parts(upload.key, begun)
    upload.multipart_id = row.values_list("multipart_id", flat=True).first() or begun


def presign_put(upload: Upload, *, now: datetime | None = None) -> dict[str, Any]:
    """How the bytes are to be sent. The length is signed too, and every HTTP client sends it by itself.

    `now` is what the database's clock says, if that is known. Raises what `seconds_left` does.
    """
    url = image_storage().presign_put(
        upload.key,
        size=upload.size,
        content_type=upload.content_type,
        lifetime=seconds_left(upload, now=now),
    )
    fault_point("presigned")
    return {"method": "PUT", "url": url, "headers": {"Content-Type": upload.content_type}}


def presign_parts(
    upload: Upload, numbers: Iterable[int], *, now: datetime | None = None
) -> list[dict[str, Any]]:
    """Where these parts (from 1) are to be sent. Numbers that the upload has not are left out.

    Raises UploadExpired, or the verdict, when it is too late for parts.
    """
    lifetime = seconds_left(upload, now=now)
    return [
        {
            "number": number,
            "url": image_storage().presign_part(
                upload.key,
                upload.multipart_id,
                number=number,
                size=upload.part_length(number),
                lifetime=lifetime,
            ),
            "headers": {},
        }
        for number in numbers
        if 1 <= number <= upload.part_count
    ]


def seconds_left(upload: Upload, *, now: datetime | None = None) -> int:
    """Until the upload expires. Raises UploadExpired, or why nothing more is taken."""
    left = int((upload.expires_at - (now or database_now())).total_seconds())
    if refusal := refusal_of(upload):
        raise refusal
    if left < 1:
        raise UploadExpired
    return min(left, LONGEST)


def receive(
    owner: User,
    file: BinaryIO,
    announcement: Announcement,
    *,
    key: IdempotencyKey | None = None,
) -> Upload:
    """The door through the app: announce and stage a local file, in constant memory. Raises what `announce` does.

    A repeat finds the upload of then, as it is now, or ends what the first request left half done.
    """
    if key:
        announcement = replace(announcement, sha256=idempotency.sha256_of(file))
    upload = begin(drafted(owner, announcement, in_parts=False), key, is_leased=True)
    if upload.state == Upload.State.ANNOUNCED:
        with withdrawn_on_failure(upload, key):
            image_storage().stage(
                upload.key, file, size=upload.size, content_type=upload.content_type
            )
        fault_point("put")
        mark_staged(upload)
    return upload


def arrived_parts(upload: Upload) -> list[Part]:
    """The parts of an upload that the bucket has. If the store forgot the whole of it, it begins anew."""
    if upload.state != Upload.State.ANNOUNCED or not upload.part_size:
        return []
    try:
        return image_storage().parts(upload.key, upload.multipart_id)
    except FileNotFoundError:
        if image_storage().size_of(upload.key) is None:
            begin_parts(upload)
        return []


def complete(upload: Upload) -> None:
    """The client says that the bytes are there: look, mark the upload staged, enqueue its job. Safe to repeat.

    Raises NotStaged, UploadExpired, or the verdict on an upload that was refused.
    """
    fault_point("complete_received")
    if upload.state == Upload.State.ANNOUNCED:
        require_bytes(upload)
        mark_staged(upload)
    refusal = refusal_of(upload)
    if refusal:
        raise refusal


def require_bytes(upload: Upload) -> None:
    """Join the parts, if it was sent in parts. NotStaged or UploadExpired unless the bytes are there, or were."""
    missing = join_parts(upload) if upload.part_size else 0
    if image_storage().size_of(upload.key) is not None:
        return
    if Upload.objects.filter(id=upload.id, state=Upload.State.ANNOUNCED).exists():
        seconds_left(upload)  # or it is too late for them
        raise NotStaged(
            f"{missing} of {upload.part_count} parts have not arrived yet." if missing else ""
        )


def join_parts(upload: Upload) -> int:
    """Make one object of the parts when all have arrived; how many are missing.

    An upload that the store does not know was joined already, and the answer was lost, or begins anew.
    """
    parts = arrived_parts(upload)
    missing = upload.part_count - len(parts)
    if not missing:
        with suppress(FileNotFoundError):
            image_storage().join_parts(upload.key, upload.multipart_id, parts)
        fault_point("parts_joined")
    return missing


# How many wait is counted as it was before this one did.
STAGE = """
UPDATE media_api_upload AS staged SET state = 'staged', staged_at = statement_timestamp()
WHERE id = %(id)s AND state = 'announced'
RETURNING staged_at, (
    SELECT count(*) FROM (
        SELECT FROM media_api_upload AS waiting
        WHERE owner_id = staged.owner_id AND state = 'staged' AND error_code = '' LIMIT %(most)s
    ) AS waiting
)
"""


def mark_staged(upload: Upload) -> None:
    """From here on the bytes are ours to examine. The job is enqueued in the transaction that says so."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(STAGE, {"id": upload.id, "most": MOST_WAITING})
            staged = cursor.fetchone()
        if staged:
            upload.staged_at, waiting = staged
            enqueue("examine", "upload_id", [upload.id], priority=MOST_WAITING - waiting)
            fault_point("staging")
    fault_point("staged")
    upload.state = Upload.State.STAGED  # also if it is gone: kept by now, or deleted by its owner
    if staged:
        log.info("upload_staged", upload_id=str(upload.id))
    elif known := Upload.objects.filter(id=upload.id).first():
        for field in ("state", "staged_at", "error_code", "error_detail"):
            setattr(upload, field, getattr(known, field))


def refusal_of(upload: Upload) -> Refusal | None:
    """Why an upload will not become an image, if that is so."""
    if upload.state == Upload.State.REFUSED:
        return verdict_of(upload.error_code, upload.error_detail)
    if upload.state == Upload.State.EXPIRED:
        return UploadExpired()
    return None


def withdraw(upload: Upload) -> None:
    """The owner does not want it any more: remove the row, then what has arrived. Raises AlreadyKept."""
    deleted, _ = Upload.objects.filter(id=upload.id).delete()
    if not deleted and Image.objects.filter(id=upload.id).exists():
        raise AlreadyKept
    fault_point("withdrawn")
    log.info("upload_withdrawn", upload_id=str(upload.id))
    with suppress(StorageUnavailable):  # the sweep removes it
        clear_staging([upload])


def clear_staging(uploads: Sequence[Upload]) -> None:
    storage = image_storage()
    for upload in uploads:
        if upload.multipart_id:
            storage.abort_parts(upload.key, upload.multipart_id)
    storage.remove(upload.key for upload in uploads)
