"""Whose bucket it is. `_meta/epoch` names the database that explains its objects; no other may remove any."""

import uuid

from django.db.models.functions import Now

from .exceptions import ForeignBucket, PublicBucket
from .models import Image, Installation, Upload
from .storage import EPOCH_KEY, image_storage


def claim_bucket() -> None:
    """Make the bucket if there is none, and write our epoch into it if it is empty. Raises ForeignBucket."""
    storage = image_storage()
    storage.make_bucket()
    try:
        require_own_bucket()
    except FileNotFoundError as error:
        if next(storage.keys(""), None) is not None:
            raise ForeignBucket(
                "it has objects, and no `_meta/epoch` says whose they are"
            ) from error
        storage.keep(EPOCH_KEY, str(epoch()).encode(), content_type="text/plain")


def take_bucket() -> None:
    """Make the bucket ours whose database was lost: we take its epoch on. Raises ForeignBucket and FileNotFoundError.

    Only a database that explains nothing yet may: no object of another bucket is left without its epoch. Nothing is
    removed before an operator has confirmed (`holds`).
    """
    found = image_storage().read(EPOCH_KEY).decode(errors="replace")
    if found == str(epoch()):
        return
    if Image.objects.exists() or Upload.objects.exists():
        raise ForeignBucket("this database has images or uploads, so it has a bucket of its own")
    try:
        Installation.objects.update(epoch=uuid.UUID(found), restored_at=Now())
    except ValueError as error:
        raise ForeignBucket("its `_meta/epoch` is not an id") from error


def require_own_bucket() -> None:
    """To be called before anything is removed that only the database knows to be left over.

    Raises ForeignBucket, and FileNotFoundError if the bucket was never claimed.
    """
    found = image_storage().read(EPOCH_KEY).decode(errors="replace")
    if found != str(epoch()):
        raise ForeignBucket("its `_meta/epoch` is not that of this database")


def is_own_bucket() -> bool:
    """Whether what it says of its objects can be believed: not that of a bucket on a volume that is not there."""
    try:
        require_own_bucket()
    except (ForeignBucket, FileNotFoundError):
        return False
    return True


def require_private_bucket() -> None:
    """Raises PublicBucket."""
    if opened := image_storage().open_to_all():
        raise PublicBucket(opened)


def epoch() -> uuid.UUID:
    return installation().epoch


def installation() -> Installation:
    row, _ = Installation.objects.get_or_create(id=1)
    return row
