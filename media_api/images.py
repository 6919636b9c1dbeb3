"""The life of an image: its labels change, it goes into the trash and back, and one day it is gone.

Its bytes never change. Deleting the row, in any way, is what deletes an image: triggers write a PendingDeletion in the
same statement, and `purge` removes the objects afterwards, twice, because a worker that was paused may write late.
"""

import json
import time
import uuid
from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import chain
from typing import Any

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from .exceptions import NotFound, PreconditionFailed, StorageUnavailable, Trashed
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
PAUSE = timedelta(minutes=1)  # until the bucket is asked again to remove what it kept back
TURN = 30  # seconds, half of those from one turn of the worker's clock to the next
BATCH = 1000


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
    """Gone at once: the rows now, the objects by jobs of the same transaction. How many there were."""
    with transaction.atomic():
        ids = list(images.select_for_update().values_list("id", flat=True))
        Image.objects.filter(id__in=ids).delete()
        batches = [ids[start : start + BATCH] for start in range(0, len(ids), BATCH)]
        enqueue("purge", "image_ids", batches)
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


def purge(ids: Iterable[uuid.UUID]) -> None:
    """Remove the objects of those PendingDeletions that are due."""
    _purge(PendingDeletion.objects.filter(id__in=ids))


def purge_due() -> int:
    """Every PendingDeletion that is due, as far as half a minute goes; the net below the jobs of `delete`. How many."""
    looked_after, end = 0, time.monotonic() + TURN
    while time.monotonic() < end and (count := _purge(PendingDeletion.objects.all())):
        looked_after += count
    return looked_after


def _purge(deletions: QuerySet[PendingDeletion]) -> int:
    """Look after up to BATCH that are due; how many there were.

    No lock is held during the bucket's calls, and none is needed: an id is never used twice, so what has neither an
    Image nor a living Upload never will. What still has one (an older backup was loaded) is asked about again later,
    and so is everything while a backup is running, which may have begun by now.
    """
    due = list(deletions.filter(due_at__lte=Now())[:BATCH])
    if not due or is_held():
        return 0
    wanted = _wanted([pending.id for pending in due])
    _put_off(wanted, SECOND_LOOK)
    if running().exists():
        return 0
    _remove_objects([pending for pending in due if pending.id not in wanted])
    return len(due)


def _wanted(ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Those of the ids that have an Image, or an Upload that may become one."""
    images = Image.objects.order_by().filter(id__in=ids).values_list("id", flat=True)
    uploads = Upload.objects.living().order_by().filter(id__in=ids).values_list("id", flat=True)
    return {*images.union(uploads)}


def _put_off(ids: Iterable[uuid.UUID], span: timedelta) -> None:
    PendingDeletion.objects.filter(id__in=ids).update(due_at=Now() + span)


def _remove_objects(pending: Sequence[PendingDeletion]) -> None:
    """Of many at once. If the bucket keeps some back, they are asked about again soon, and the others do not wait."""
    storage = image_storage()
    keys = {each.id: _keys(each) for each in pending}
    fault_point("purge_due")
    try:
        storage.remove(chain.from_iterable(keys.values()))
    except StorageUnavailable as error:
        if error.kept_back:
            stay = {each.id for each in pending if not error.kept_back.isdisjoint(keys[each.id])}
            _put_off(stay, PAUSE)
            _note_removal([each for each in pending if each.id not in stay], keys)
        raise
    fault_point("purged")
    _note_removal(pending, keys)


def _keys(pending: PendingDeletion) -> list[str]:
    """At the first look what the row of the image knew, if it had one. To list each would take most of the time."""
    if pending.keys and not pending.removed_at:
        return pending.keys
    return list(image_storage().keys(image_prefix(pending.id)))


def _note_removal(pending: Sequence[PendingDeletion], keys: dict[uuid.UUID, list[str]]) -> None:
    """A row stays until a second look finds nothing; nor does it go if the image was deleted again meanwhile."""
    over = {each.id for each in pending if each.removed_at and not keys[each.id]}
    PendingDeletion.objects.filter(id__in=over, removed_at__isnull=False).delete()
    removed = [each.id for each in pending if each.id not in over]
    PendingDeletion.objects.filter(id__in=removed).update(
        removed_at=Now(), due_at=Now() + SECOND_LOOK
    )
    for image_id in removed:
        log.info("image_purged", image_id=str(image_id), objects=len(keys[image_id]))
