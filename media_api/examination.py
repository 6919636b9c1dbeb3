"""The worker's half of an upload: look at the staged bytes, then keep or refuse them.

The bytes are copied once to a local file, that very copy is examined, and it is what is kept: whatever a client still
does to its staging key changes nothing. One transaction turns the Upload into an Image of the same id.

It may run twice, also at the same time: every attempt writes the same bytes, and the transaction has one winner.

A verdict is about the bytes. What fails for another reason is tried again: without end in an outage; else ten times,
and then the upload is set aside, with its bytes, until an operator has it tried again (`retries`).
"""

import hashlib
import tempfile
import uuid
from datetime import datetime, timedelta
from typing import BinaryIO, cast

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import F

from . import sandbox
from .epoch import is_own_bucket
from .exceptions import (
    ChecksumMismatch,
    DecoderCrashed,
    DecoderFailed,
    Internal,
    SizeMismatch,
    StorageUnavailable,
    TooComplex,
    Verdict,
)
from .faults import fault_point
from .images import describe
from .models import (
    RENDITION_TYPE,
    Derived,
    Image,
    Upload,
    database_now,
    image_prefix,
    last_part,
    rendition_key,
)
from .queue import OUTAGES
from .storage import image_storage
from .stripping import write
from .verdicts import tell

log = structlog.get_logger(__name__)

MAX_ATTEMPTS = 10
MAX_CRASHES = 3
SAFE = "Its bytes are safe and need not be sent again; it goes on when the cause is mended."
FAILED = f"A fault of ours keeps it from being looked at. {SAFE}"
NEVER_ENDED = f"Looking at it was cut short again and again. {SAFE}"


def examine(upload_id: uuid.UUID) -> None:
    """The job: look at the staged bytes and keep or refuse them. May run twice, also at the same time.

    An attempt is counted before it begins, since one that takes the worker with it cannot be counted afterwards.
    """
    upload = Upload.objects.waiting().select_related("owner").filter(id=upload_id).first()
    if upload is None:
        return
    if upload.attempts >= MAX_ATTEMPTS:
        set_aside(upload, NEVER_ENDED)
        return
    row = Upload.objects.filter(id=upload.id)
    row.update(attempts=F("attempts") + 1)
    fault_point("job_taken")
    try:
        keep_or_refuse(upload)
    except OUTAGES:
        row.filter(attempts__gt=0).update(attempts=F("attempts") - 1)
        raise
    except Exception:
        if upload.attempts + 1 < MAX_ATTEMPTS:
            raise
        log.exception("upload_failed", upload_id=str(upload.id))
        set_aside(upload, FAILED)


def keep_or_refuse(upload: Upload) -> None:
    with tempfile.TemporaryFile() as file:
        try:
            sha256 = fetch(upload, file)
            facts = look(upload, file)
            settle_hash(upload, sha256)
            derived = put_objects(upload, file, facts)
        except Verdict as verdict:
            refuse(upload, verdict)
            return
    keep(upload, facts, derived)


def fetch(upload: Upload, file: BinaryIO) -> str:
    """Copy the staged bytes into a local file; their SHA-256. They must be what was announced."""
    try:
        size, sha256 = image_storage().fetch(upload.key, file, limit=upload.size)
    except FileNotFoundError as error:
        if not is_own_bucket():
            raise StorageUnavailable("The bucket is not there.") from error
        raise SizeMismatch("Its bytes are not in the bucket any more. Send it again.") from error
    if size != upload.size:
        raise SizeMismatch
    if upload.claimed_sha256 not in ("", sha256):
        raise ChecksumMismatch
    fault_point("hashed")
    return sha256


def look(upload: Upload, file: BinaryIO) -> sandbox.Facts:
    """Decode the local copy. A decoder that crashes has three tries."""
    try:
        return decode(file)
    except DecoderFailed:
        raise
    except DecoderCrashed as error:
        Upload.objects.filter(id=upload.id).update(crashes=F("crashes") + 1)
        if upload.crashes + 1 < MAX_CRASHES:
            raise
        raise TooComplex("Reading it failed again and again.") from error


def decode(file: BinaryIO) -> sandbox.Facts:
    """Within the limits of the settings. Raises a Verdict, or DecoderCrashed."""
    return sandbox.examine(
        file,
        limits=sandbox.Limits(
            max_jpeg_pixels=settings.MAX_JPEG_PIXELS,
            max_pixels=settings.MAX_PIXELS,
            max_frames=settings.MAX_FRAMES,
            max_animation_pixels=settings.MAX_ANIMATION_PIXELS,
            max_scans=settings.MAX_SCANS,
        ),
        timeout=settings.EXAMINE_TIMEOUT,
        memory=settings.EXAMINE_MEMORY,
    )


def settle_hash(upload: Upload, sha256: str) -> None:
    """Write down what the bytes are before the first of them is kept.

    An attempt that finds other bytes (an upload URL was used again between two attempts) is refused, so a worker that
    wakes up late can only write what is there already.
    """
    settled = Upload.objects.filter(
        id=upload.id, state=Upload.State.STAGED, sha256__in=["", sha256]
    ).update(sha256=sha256)
    if not settled:
        raise ChecksumMismatch("Other bytes were sent while it was examined. Send it again.")
    upload.sha256 = sha256
    fault_point("hash_settled")


def put_objects(upload: Upload, file: BinaryIO, facts: sandbox.Facts) -> Derived:
    """Write everything below `images/<id>/`; every attempt writes the same."""
    storage = image_storage()
    file.seek(0)
    storage.keep(original_key(upload.id, facts), file, content_type=facts.content_type)
    derived = put_derived(upload.id, file, facts)
    image = image_of(upload, facts, derived)
    describe(image)
    if storage.size_of(image.path) != upload.size:
        raise StorageUnavailable("What was written is not there.")
    return derived


def put_derived(image_id: uuid.UUID, file: BinaryIO, facts: sandbox.Facts) -> Derived:
    """Write what is made of an original, and say what it is: the stripped copy, if any, and the renditions."""
    storage = image_storage()
    derived: Derived = {}
    if facts.cuts:
        key = stripped_key(image_id, facts)
        with tempfile.TemporaryFile() as copy:
            write(facts.cuts, file, copy)
            size = copy.tell()
            copy.seek(0)
            sha256 = hashlib.file_digest(copy, "sha256").hexdigest()
            copy.seek(0)
            storage.keep(key, copy, content_type=facts.content_type)
        derived[last_part(key)] = {"size": size, "sha256": sha256}
    renditions = {rendition_key(image_id, each.side): each.body for each in facts.renditions}
    storage.keep_all(renditions, content_type=RENDITION_TYPE)
    for key, body in renditions.items():
        derived[last_part(key)] = {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    return derived


def original_key(image_id: uuid.UUID, facts: sandbox.Facts) -> str:
    return f"{image_prefix(image_id)}original.{facts.extension}"


def stripped_key(image_id: uuid.UUID, facts: sandbox.Facts) -> str:
    """Where the same picture without metadata lies: where the original does, if that carries none."""
    name = "stripped" if facts.cuts else "original"
    return f"{image_prefix(image_id)}{name}.{facts.extension}"


def image_of(upload: Upload, facts: sandbox.Facts, derived: Derived) -> Image:
    """The row that an examined upload becomes. Everything but its labels was computed from the bytes."""
    return Image(
        id=upload.id,
        owner=upload.owner,
        name=upload.name,
        tags=upload.tags,
        path=original_key(upload.id, facts),
        stripped_path=stripped_key(upload.id, facts),
        size=upload.size,
        date=cast(datetime, upload.staged_at),  # the schema says so
        sha256=upload.sha256,
        content_type=facts.content_type,
        width=facts.width,
        height=facts.height,
        frames=facts.frames,
        sides=[rendition.side for rendition in facts.renditions],
        placeholder=facts.placeholder,
        derived=derived,
    )


def keep(upload: Upload, facts: sandbox.Facts, derived: Derived) -> None:
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
        image_of(locked, facts, derived).save(force_insert=True)
        locked.delete()
        tell(upload.id)
        fault_point("keeping")
    fault_point("kept")
    image_storage().remove([upload.key])
    log.info("upload_kept", upload_id=str(upload.id))


def set_aside(upload: Upload, reason: str) -> None:
    """Nobody looks at it any more until it is said that somebody shall. The staged bytes stay."""
    with transaction.atomic():
        waiting = Upload.objects.waiting().filter(id=upload.id)
        is_new = waiting.update(error_code=Internal.code, error_detail=reason)
        tell(upload.id)
    if is_new:
        log.error("upload_set_aside", upload_id=str(upload.id), reason=reason)


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
        fault_point("refusing")
    fault_point("refused")
    if refused:
        image_storage().remove([upload.key])
        log.info("upload_refused", upload_id=str(upload.id), code=verdict.code)
