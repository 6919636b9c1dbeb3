"""One upload for one `Idempotency-Key`, however often its request is repeated.

A key is bound to an upload in the transaction that writes the Upload: there are both or neither. No answer is stored. A
repeat finds the upload, and is told what has become of it.

Who wrote the row still has to put something into the bucket, and may be killed meanwhile. So it has a lease: until that
is over a repeat is told to wait, then one repeat takes over. If the first was only slow, both write the same: the
fingerprint holds the SHA-256 of the bytes.
"""

import hashlib
import json
from datetime import timedelta
from typing import BinaryIO

from django.db.models import QuerySet

from .exceptions import Gone, IdempotencyConflict, InProgress
from .models import IdempotencyKey, Image, Upload, database_now

LIFETIME = timedelta(hours=24)
LEASE = timedelta(seconds=60)


def is_known(key: IdempotencyKey) -> bool:
    """Whether the request is a repeat, as far as can be seen before its body is read."""
    return _rows_of(key).exists()


def bind(key: IdempotencyKey, draft: Upload, *, is_leased: bool) -> Upload:
    """The draft if the key is new, to be written now; else the upload that the key is bound to, as it is.

    In the transaction that writes the draft: requests with the same key wait here for its end. What is returned
    announced, and was leased, is for the caller to end. Raises IdempotencyConflict, InProgress and Gone.
    """
    _insert_or_lock(key, draft, is_leased=is_leased)
    if key.upload_id == draft.id:
        return draft
    if key.fingerprint != fingerprint(draft):
        raise IdempotencyConflict
    upload = _upload_of(key)
    if upload.state == Upload.State.ANNOUNCED and not upload.multipart_id and key.leased_until:
        _take_over(key)
    return upload


def fingerprint(upload: Upload) -> str:
    """Of what a client says of an upload, and not of how: the boundary of a form is another each time."""
    said = [upload.name, upload.tags, upload.size, upload.claimed_sha256]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def sha256_of(file: BinaryIO) -> str:
    """Of a whole file, in constant memory; it is rewound."""
    computed = hashlib.file_digest(file, "sha256")  # type: ignore[arg-type]
    file.seek(0)
    return computed.hexdigest()


def release(key: IdempotencyKey) -> bool:
    """Forget a key that this request holds the lease of. False if a repeat has taken over."""
    forgotten, _ = _rows_of(key).filter(leased_until=key.leased_until).delete()
    return bool(forgotten)


def _rows_of(key: IdempotencyKey) -> QuerySet[IdempotencyKey]:
    return IdempotencyKey.objects.filter(owner=key.owner, path=key.path, key=key.key)


def _insert_or_lock(key: IdempotencyKey, draft: Upload, *, is_leased: bool) -> None:
    """Write the row of the key, or wait for the one that is there and lock it; then the key is what the row says."""
    now = database_now()
    key.upload_id, key.fingerprint = draft.id, fingerprint(draft)
    key.leased_until = now + LEASE if is_leased else None
    key.expires_at = now + LIFETIME
    IdempotencyKey.objects.bulk_create(
        [key],
        update_conflicts=True,
        unique_fields=["owner", "path", "key"],
        update_fields=["key"],  # changes nothing, and that is what locks it
    )
    key.refresh_from_db()


def _upload_of(key: IdempotencyKey) -> Upload:
    """What the key is bound to; an image as the upload that it was. Raises Gone.

    Asked in this order, as the one becomes the other meanwhile.
    """
    if upload := Upload.objects.filter(id=key.upload_id).first():
        return upload
    if not Image.objects.filter(id=key.upload_id).exists():
        raise Gone
    return Upload(id=key.upload_id, state=Upload.State.STAGED)


def _take_over(key: IdempotencyKey) -> None:
    now = database_now()
    if key.leased_until and key.leased_until > now:
        raise InProgress
    key.leased_until = now + LEASE
    key.save(update_fields=["leased_until"])
