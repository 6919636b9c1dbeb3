"""The life of an image: its labels change, it goes into the trash and back, and one day it is gone.

Its bytes never change. Deleting the row, in any way, is what deletes an image: triggers write a PendingDeletion in the
same statement, and `purge` removes the objects afterwards, twice, because a worker that was paused may write late.
"""

import json
import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from .exceptions import NotFound, PreconditionFailed, Trashed
from .faults import fault_point
from .holds import is_held, is_unconfirmed, running
from .models import (
    MAX_TAGS,
    Image,
    ImageQuerySet,
    PendingDeletion,
    Upload,
    database_now,
    description_key,
    image_prefix,
)
from .queue import enqueue
from .storage import image_storage

log = structlog.get_logger(__name__)

SECOND_LOOK = timedelta(hours=1)
BATCH = 500


def change(
    image: Image,
    *,
    name: str | None = None,
    tags: Sequence[str] | None = None,
    version: int | None = None,
) -> None:
    """Give an image another name or other tags; with `version`, only if it still has that one.

    Raises NotFound, Trashed and PreconditionFailed. The bucket's description of the image follows by a job.
    """
    with transaction.atomic():
        locked = Image.objects.select_for_update().filter(id=image.id).first()
        if locked is None:
            raise NotFound
        if version is not None and locked.version != version:
            raise PreconditionFailed
        if locked.trashed_at:
            raise Trashed
        image.name = locked.name if name is None else name
        image.tags = locked.tags if tags is None else list(tags)
        image.version = locked.version + 1
        image.save(update_fields=["name", "tags", "version"])
        enqueue("describe", "image_id", [image.id])
    fault_point("changed")


def retag(images: ImageQuerySet, *, add: Sequence[str], remove: Sequence[str]) -> int:
    """Add and remove tags of many that are not in the trash; how many were changed."""
    with transaction.atomic():
        changed = []
        for image in images.present().select_for_update():
            kept = [tag for tag in image.tags if tag not in remove]
            tags = list(dict.fromkeys([*kept, *add]))[:MAX_TAGS]
            if tags != image.tags:
                image.tags, image.version = tags, image.version + 1
                changed.append(image)
        Image.objects.bulk_update(changed, ["tags", "version"])
        enqueue("describe", "image_id", [image.id for image in changed])
    return len(changed)


def trash(images: ImageQuerySet) -> int:
    """Into the trash, for TRASH_LIFETIME; how many were not there yet."""
    moved = images.present().update(trashed_at=Now(), version=F("version") + 1)
    fault_point("trashed")
    return moved


def restore(images: ImageQuerySet) -> int:
    """Out of the trash; how many were in it."""
    return images.trashed().update(trashed_at=None, version=F("version") + 1)


def delete(images: ImageQuerySet) -> int:
    """Gone at once: the rows now, the objects by a job of the same transaction. How many there were."""
    with transaction.atomic():
        ids = list(images.select_for_update().values_list("id", flat=True))
        Image.objects.filter(id__in=ids).delete()
        enqueue("purge", "image_id", ids)
        fault_point("deleting")
    fault_point("deleted")
    return len(ids)


def empty_old_trash() -> int:
    """Delete what has lain in the trash for TRASH_LIFETIME."""
    overdue = database_now() - timedelta(seconds=settings.TRASH_LIFETIME)
    deleted = 0
    images = Image.objects.filter(trashed_at__lt=overdue)
    if not images.exists() or is_unconfirmed():
        return 0
    while ids := list(images.values_list("id", flat=True)[:BATCH]):
        fault_point("old_trash_found")
        deleted += delete(images.filter(id__in=ids))  # what was restored by now stays
    return deleted


# --- its description in the bucket ----------------------------------------------------------------


def description(image: Image) -> bytes:
    """`image.json`: the row in a form that it can be rebuilt from."""
    return json.dumps(facts_of(image), ensure_ascii=False, indent=1).encode()


def facts_of(image: Image) -> dict[str, Any]:
    return {
        "id": str(image.id),
        "owner": image.owner.get_username(),
        "name": image.name,
        "tags": image.tags,
        "date": image.date.isoformat(),
        "path": image.path,
        "stripped_path": image.stripped_path,
        "size": image.size,
        "sha256": image.sha256,
        "content_type": image.content_type,
        "width": image.width,
        "height": image.height,
        "frames": image.frames,
        "sides": image.sides,
        "placeholder": image.placeholder,
        "derived": image.derived,
        "version": image.version,
    }


def describe(image: Image) -> None:
    """Write the description into the bucket."""
    image_storage().keep(
        description_key(image.id),
        description(image),
        content_type="application/json",
        caching="no-cache",
    )


def describe_again(image_id: uuid.UUID) -> None:
    """The job after a change. Repeated until what was written is what the row says, as jobs may pass each other."""
    written = None
    while (image := _find(image_id)) is not None and image.version != written:
        fault_point("describing")
        describe(image)
        written = image.version


def _find(image_id: uuid.UUID) -> Image | None:
    return Image.objects.select_related("owner").filter(id=image_id).first()


# --- its objects, once it is gone -----------------------------------------------------------------


def purge(deletion_id: uuid.UUID) -> None:
    """Remove the objects of a PendingDeletion that is due."""
    _purge(PendingDeletion.objects.filter(id=deletion_id))


def purge_due() -> int:
    """Every PendingDeletion that is due; the net below the jobs of `delete`."""
    return _purge(PendingDeletion.objects.all())


def _purge(deletions: QuerySet[PendingDeletion]) -> int:
    """The bucket is asked once for many whether it `is_held`. How many were due."""
    ids = list(deletions.filter(due_at__lte=Now()).values_list("id", flat=True)[:BATCH])
    if not ids or is_held():
        return 0
    for deletion_id in ids:
        _remove_objects(deletion_id)
    return len(ids)


def _remove_objects(deletion_id: uuid.UUID) -> None:
    """Of a PendingDeletion that is still due; the row stays until a second look finds nothing.

    No lock is held during the bucket's calls, and none is needed: an id is never used twice, so what has neither an
    Image nor a living Upload never will. What still has one (an older backup was loaded) is asked about again later,
    and so is everything while a backup is running, which may have begun by now.
    """
    pending = PendingDeletion.objects.filter(id=deletion_id, due_at__lte=Now()).first()
    if pending is None:
        return
    if _is_wanted(deletion_id):
        PendingDeletion.objects.filter(id=deletion_id).update(due_at=database_now() + SECOND_LOOK)
        return
    if running().exists():
        return
    storage = image_storage()
    keys = list(storage.keys(image_prefix(deletion_id)))
    fault_point("purge_due")
    storage.remove(keys)
    fault_point("purged")
    if not keys and pending.removed_at:
        pending.delete()
        return
    now = database_now()
    PendingDeletion.objects.filter(id=deletion_id).update(removed_at=now, due_at=now + SECOND_LOOK)
    log.info("image_purged", image_id=str(deletion_id), objects=len(keys))


def _is_wanted(image_id: uuid.UUID) -> bool:
    return (
        Image.objects.filter(id=image_id).exists()
        or Upload.objects.living().filter(id=image_id).exists()
    )
