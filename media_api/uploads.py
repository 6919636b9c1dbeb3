"""The life of an upload: announce, stage, complete, examine, keep, expire.

1. `announce` writes the row before any byte can exist under its key. The client then sends the bytes to the bucket, or
   `receive` does it for a client that sends them to us.
2. `complete` finds the bytes in the bucket, marks the upload staged and enqueues its job, in one transaction.
3. `examine` is the job. It copies the bytes to a local file, looks at that very copy, and keeps it under `images/`, a
   prefix that no client's URL can write to. One transaction turns the Upload into an Image of the same id.

Stopping anywhere leaves a row that says what may lie in the bucket: the job runs again, or a sweep removes it. Every
step may run twice at the same time; the transaction that ends the Upload has one winner.
"""

import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, BinaryIO, cast

import structlog
from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F

from . import imaging
from .epoch import require_own_bucket
from .exceptions import (
    ChecksumMismatch,
    Empty,
    NotStaged,
    Refusal,
    SizeMismatch,
    StorageUnavailable,
    TooComplex,
    TooLarge,
    UploadExpired,
    Verdict,
    verdict_of,
)
from .images import describe
from .models import Image, Upload, database_now, image_prefix, rendition_key, staging_key
from .presign import LONGEST
from .queue import enqueue
from .storage import Part, image_storage
from .verdicts import tell

log = structlog.get_logger(__name__)

MAX_ATTEMPTS = 3
BATCH = 500


@dataclass(frozen=True)
class Announcement:
    """What a client says of the bytes that it is going to send. Nothing of it is believed."""

    name: str
    size: int
    content_type: str
    sha256: str = ""
    tags: Sequence[str] = ()


def announce(owner: User, announcement: Announcement, *, in_parts: bool = True) -> Upload:
    """Write the row of an upload; above PART_THRESHOLD bytes it is to be sent in parts, if it may.

    Raises Empty and TooLarge.
    """
    if announcement.size <= 0:
        raise Empty
    if announcement.size > settings.MAX_UPLOAD_SIZE:
        raise TooLarge(f"It is larger than {settings.MAX_UPLOAD_SIZE:,} bytes.")
    in_parts = in_parts and announcement.size > settings.PART_THRESHOLD
    lifetime = settings.PARTS_LIFETIME if in_parts else settings.UPLOAD_LIFETIME
    upload = Upload.objects.create(
        owner=owner,
        name=announcement.name,
        tags=list(announcement.tags),
        size=announcement.size,
        content_type=announcement.content_type,
        claimed_sha256=announcement.sha256,
        part_size=settings.PART_SIZE if in_parts else 0,
        expires_at=database_now() + timedelta(seconds=lifetime),
    )
    log.info("upload_announced", upload_id=str(upload.id), size=upload.size)
    if in_parts:
        with withdrawn_on_failure(upload):
            begin_parts(upload)
    return upload


@contextmanager
def withdrawn_on_failure(upload: Upload) -> Iterator[None]:
    """What the client never heard of shall not stand in its list: the sweep removes what may have arrived."""
    try:
        yield
    except StorageUnavailable:
        upload.delete()
        raise


def begin_parts(upload: Upload) -> None:
    upload.multipart_id = image_storage().begin_parts(upload.key, content_type=upload.content_type)
    upload.save(update_fields=["multipart_id"])


def presign_put(upload: Upload) -> dict[str, Any]:
    """How the bytes are to be sent. The length is signed too, and every HTTP client sends it by itself."""
    url = image_storage().presign_put(
        upload.key,
        size=upload.size,
        content_type=upload.content_type,
        lifetime=seconds_left(upload),
    )
    return {"method": "PUT", "url": url, "headers": {"Content-Type": upload.content_type}}


def presign_parts(upload: Upload, numbers: Iterable[int]) -> list[dict[str, Any]]:
    """Where these parts (from 1) are to be sent. Numbers that the upload has not are left out.

    Raises UploadExpired, or the verdict, when it is too late for parts.
    """
    lifetime = seconds_left(upload)
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


def seconds_left(upload: Upload) -> int:
    """Until the upload expires. Raises UploadExpired, or why nothing more is taken."""
    left = int((upload.expires_at - database_now()).total_seconds())
    if refusal := refusal_of(upload):
        raise refusal
    if left < 1:
        raise UploadExpired
    return min(left, LONGEST)


def receive(owner: User, file: BinaryIO, announcement: Announcement) -> Upload:
    """The door through the app: announce and stage a local file, in constant memory."""
    upload = announce(owner, announcement, in_parts=False)
    with withdrawn_on_failure(upload):
        image_storage().stage(upload.key, file, size=upload.size, content_type=upload.content_type)
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
    if upload.state == Upload.State.ANNOUNCED:
        require_bytes(upload)
        mark_staged(upload)
    refusal = refusal_of(upload)
    if refusal:
        raise refusal


def require_bytes(upload: Upload) -> None:
    """Join the parts, if it was sent in parts; raise NotStaged unless the bytes are in the bucket, or were."""
    missing = join_parts(upload) if upload.part_size else 0
    if image_storage().size_of(upload.key) is not None:
        return
    if Upload.objects.filter(id=upload.id, state=Upload.State.ANNOUNCED).exists():
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
    return missing


def mark_staged(upload: Upload) -> None:
    """From here on the bytes are ours to examine. The job is enqueued in the transaction that says so."""
    with transaction.atomic():
        locked = Upload.objects.select_for_update().filter(id=upload.id).first()
        if locked and locked.state == Upload.State.ANNOUNCED:
            locked.state = Upload.State.STAGED
            locked.staged_at = database_now()
            locked.save(update_fields=["state", "staged_at"])
            enqueue("examine", "upload_id", [upload.id])
    if locked is None:  # kept by now, or deleted by its owner
        upload.state = Upload.State.STAGED
        return
    for field in ("state", "staged_at", "error_code", "error_detail"):
        setattr(upload, field, getattr(locked, field))
    log.info("upload_staged", upload_id=str(upload.id))


def refusal_of(upload: Upload) -> Refusal | None:
    """Why an upload will not become an image, if that is so."""
    if upload.state == Upload.State.REFUSED:
        return verdict_of(upload.error_code, upload.error_detail)
    if upload.state == Upload.State.EXPIRED:
        return UploadExpired()
    return None


def examine(upload_id: uuid.UUID) -> None:
    """The job: look at the staged bytes and keep or refuse them. May run twice, also at the same time."""
    upload = Upload.objects.filter(id=upload_id, state=Upload.State.STAGED).first()
    if upload is None:
        return
    with tempfile.TemporaryFile() as file:
        try:
            sha256 = fetch(upload, file)
            facts = look(upload, file)
            settle_hash(upload, sha256)
            put_objects(upload, file, facts)
        except Verdict as verdict:
            refuse(upload, verdict)
            return
    keep(upload, facts)


def fetch(upload: Upload, file: BinaryIO) -> str:
    """Copy the staged bytes into a local file; their SHA-256. They must be what was announced."""
    try:
        size, sha256 = image_storage().fetch(upload.key, file, limit=upload.size)
    except FileNotFoundError as error:
        raise SizeMismatch("Its bytes are not in the bucket any more. Send it again.") from error
    if size != upload.size:
        raise SizeMismatch
    if upload.claimed_sha256 not in ("", sha256):
        raise ChecksumMismatch
    return sha256


def look(upload: Upload, file: BinaryIO) -> imaging.Facts:
    """Decode the local copy. A decoder that takes the process with it is tried three times, counted before each."""
    if upload.attempts >= MAX_ATTEMPTS:
        raise TooComplex("Reading it failed again and again.")
    Upload.objects.filter(id=upload.id).update(attempts=F("attempts") + 1)
    return imaging.examine(
        file,
        limits=imaging.Limits(
            max_jpeg_pixels=settings.MAX_JPEG_PIXELS,
            max_pixels=settings.MAX_PIXELS,
            max_frames=settings.MAX_FRAMES,
            max_animation_pixels=settings.MAX_ANIMATION_PIXELS,
            max_scans=settings.MAX_SCANS,
        ),
    )


def settle_hash(upload: Upload, sha256: str) -> None:
    """Write down what the bytes are before the first of them is kept.

    An attempt that finds other bytes (an upload URL was used again between two attempts) is refused, so a worker that
    wakes up late can only write what is there already.
    """
    settled = Upload.objects.filter(
        id=upload.id, state=Upload.State.STAGED, sha256__in=["", sha256]
    ).update(sha256=sha256, attempts=0)
    if not settled:
        raise ChecksumMismatch("Other bytes were sent while it was examined. Send it again.")
    upload.sha256 = sha256


def put_objects(upload: Upload, file: BinaryIO, facts: imaging.Facts) -> None:
    """Write everything below `images/<id>/`; every attempt writes the same."""
    storage = image_storage()
    file.seek(0)
    storage.keep(original_key(upload, facts), file, content_type=facts.content_type)
    for rendition in facts.renditions:
        storage.keep(
            rendition_key(upload.id, rendition.side), rendition.body, content_type="image/webp"
        )
    image = image_of(upload, facts)
    describe(image)
    if storage.size_of(image.path) != upload.size:
        raise StorageUnavailable("What was written is not there.")


def original_key(upload: Upload, facts: imaging.Facts) -> str:
    return f"{image_prefix(upload.id)}original.{facts.extension}"


def image_of(upload: Upload, facts: imaging.Facts) -> Image:
    """The row that an examined upload becomes. Everything but its labels was computed from the bytes."""
    return Image(
        id=upload.id,
        owner=upload.owner,
        name=upload.name,
        tags=upload.tags,
        path=original_key(upload, facts),
        size=upload.size,
        date=cast(datetime, upload.staged_at),  # the schema says so
        sha256=upload.sha256,
        content_type=facts.content_type,
        width=facts.width,
        height=facts.height,
        frames=facts.frames,
        sides=[rendition.side for rendition in facts.renditions],
        placeholder=facts.placeholder,
    )


def keep(upload: Upload, facts: imaging.Facts) -> None:
    """Turn the Upload into its Image. Who comes second finds no staged Upload, and does nothing."""
    with transaction.atomic():
        locked = (
            Upload.objects.select_for_update(of=["self"])
            .select_related("owner")
            .filter(id=upload.id, state=Upload.State.STAGED, sha256=upload.sha256)
            .first()
        )
        if locked is None:
            return
        image_of(locked, facts).save(force_insert=True)
        locked.delete()
        tell(upload.id)
    image_storage().remove([upload.key])
    log.info("upload_kept", upload_id=str(upload.id))


def refuse(upload: Upload, verdict: Verdict) -> None:
    """Write the verdict down, then remove the staged bytes."""
    with transaction.atomic():
        refused = Upload.objects.filter(id=upload.id, state=Upload.State.STAGED).update(
            state=Upload.State.REFUSED,
            error_code=verdict.code,
            error_detail=verdict.detail,
            expires_at=database_now() + timedelta(seconds=settings.REFUSAL_LIFETIME),
        )
        tell(upload.id)
    if refused:
        image_storage().remove([upload.key])
        log.info("upload_refused", upload_id=str(upload.id), code=verdict.code)


def withdraw(upload: Upload) -> None:
    """The owner does not want it any more: remove the row, then what has arrived."""
    upload.delete()
    clear_staging([upload])


def expire_overdue() -> int:
    """End what was announced and never completed; tell of it for a day. How many there were."""
    expired = 0
    while batch := expire_batch():
        clear_staging(batch)
        expired += len(batch)
    Upload.objects.finished_before(database_now()).delete()
    return expired


def expire_batch() -> list[Upload]:
    with transaction.atomic():
        now = database_now()
        overdue = list(Upload.objects.overdue(now).select_for_update(skip_locked=True)[:BATCH])
        Upload.objects.filter(id__in=[upload.id for upload in overdue]).update(
            state=Upload.State.EXPIRED,
            expires_at=now + timedelta(seconds=settings.REFUSAL_LIFETIME),
        )
    return overdue


def clear_staging(uploads: Iterable[Upload]) -> None:
    storage = image_storage()
    for upload in uploads:
        if upload.multipart_id:
            storage.abort_parts(upload.key, upload.multipart_id)
        storage.remove([upload.key])


def sweep_staging() -> int:
    """Remove every object under `staging/` that no living Upload explains. How many there were.

    List first, then look for the rows: a row is older than any byte under its key and ids are never used twice, so what
    has no living row after the listing never will.
    """
    require_own_bucket()
    storage = image_storage()
    keys = list(storage.keys("staging/"))
    open_parts = [(key, part) for key, part in storage.open_parts() if key.startswith("staging/")]
    living = {
        staging_key(upload_id) for upload_id in Upload.objects.living().values_list("id", flat=True)
    }
    left_over = [key for key in keys if key not in living]
    storage.remove(left_over)
    for key, multipart_id in open_parts:
        if key not in living:
            storage.abort_parts(key, multipart_id)
    return len(left_over)
