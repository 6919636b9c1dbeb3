"""Objects that nothing explains, removed because an operator said so; the sweeps remove none of them by themselves."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from typing import cast
from uuid import UUID

import structlog
from django.db import transaction

from . import images
from .faults import fault_point
from .fsck import (
    IMAGES,
    STAGING,
    Finding,
    explained,
    find,
    look_into,
    look_into_staging,
    parts,
    places,
)
from .holds import is_held, reason
from .models import PendingDeletion, Upload, hold_id, image_prefix
from .storage import image_storage

log = structlog.get_logger(__name__)

MAX_SHARE, MAX_COUNT = 0.01, 1000


class Held(Exception):
    """Nothing is to be removed now; the argument is the sentence that says why."""


class TooMany(Exception):
    """More than an operator can have meant."""


def allowance(*, before: datetime, after: UUID | None = None, at_most: int | None = None) -> int:
    """How many unknown objects that were written `before` may be removed: `at_most`, else 1 % of all objects, or 1,000.

    Raises TooMany if there are more, and Held. Nothing is removed here.
    """
    if is_held():
        raise Held(reason())
    count = sum(_is_old(finding, before) for finding in _unknown(after))
    total = sum(1 for _ in image_storage().objects(""))
    most = min(MAX_COUNT, int(total * MAX_SHARE)) if at_most is None else at_most
    if count > most:
        raise TooMany(
            f"{count:,} of {total:,} objects would be removed, and at most {most:,} may be: none was. "
            f"If they are to go, say --at-most {count}."
        )
    return most


def _unknown(after: UUID | None) -> Iterator[Finding]:
    folders = (look_into(place, quick=True) for place in places(after=after) if not place.agrees)
    for finding in chain(look_into_staging(), chain.from_iterable(folders)):
        if finding.kind == "unknown_object":
            yield finding


def _is_old(finding: Finding, before: datetime) -> bool:
    return finding.written_at is not None and finding.written_at < before


@dataclass
class Removal:
    """Removes what was written `before` a moment, no more than `left` objects."""

    before: datetime
    left: int

    def remove(self, found: Sequence[Finding]) -> list[Finding]:
        """Remove the unknown objects among the findings of one folder, or one from anywhere; they then say so."""
        unknown = [each for each in found if each.kind == "unknown_object" and not each.done]
        old = [each for each in unknown if _is_old(each, self.before)]
        if not old or len(old) > self.left:
            return list(found)
        if _is_folder_of_nobody(old[0]):
            gone = old if len(old) == len(unknown) and _given_up(old[0], self.before) else []
        else:
            gone = [each for each in old if _removed(each)]
        self.left -= len(gone)
        return [replace(each, done="removed") if each in gone else each for each in found]


def _is_folder_of_nobody(finding: Finding) -> bool:
    below_images = finding.key.startswith(IMAGES)
    return below_images and finding.image is not None and find(finding.image) is None


def _given_up(finding: Finding, before: datetime) -> bool:
    """Write a PendingDeletion and purge at once; not if a row explains the folder by now, or it has a younger object.

    The lock is that of an adoption. It is not held while the bucket removes: nobody brings back what is to be deleted.
    """
    image_id = cast(UUID, finding.image)
    if any(
        stored.written_at >= before for stored in image_storage().objects(image_prefix(image_id))
    ):
        return False
    with transaction.atomic():
        hold_id(image_id)
        if find(image_id) or explained(image_id):
            return False
        PendingDeletion.objects.create(id=image_id)
    images.purge([image_id])
    return True


def _removed(finding: Finding) -> bool:
    """Look at the rows at this very moment, then remove. Of what they do not explain now, none will become a part."""
    if _is_explained(finding):
        return False
    fault_point("unknown_found")
    image_storage().remove([finding.key])
    log.info("unknown_object_removed", key=finding.key)
    return True


def _is_explained(finding: Finding) -> bool:
    if finding.image is None:
        return False
    if finding.key.startswith(STAGING):
        return Upload.objects.living().filter(id=finding.image).exists()
    image = find(finding.image)
    return image is not None and finding.key in parts(image)
