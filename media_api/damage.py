"""Originals that are missing, or not what was uploaded any more: their images are marked, and the owner is told.

The worker reads the bucket by itself, all of it in time, and the images that were not read for longest first.
"""

import time
import uuid
from collections.abc import Sequence
from datetime import timedelta

import structlog
from django.conf import settings
from django.db.models import F
from django.db.models.functions import Now

from .epoch import require_own_bucket
from .faults import fault_point
from .fsck import Finding, look
from .models import Image, database_now
from .repair import mend

log = structlog.get_logger(__name__)

TURN = 60  # seconds from one turn of the worker's clock to the next
REST = timedelta(days=7)  # so long nothing is read again


def check_content() -> int:
    """A turn of the rolling check: as many bytes as CONTENT_CHECK_RATE gives it, the last image to its end.

    How many images were read. Stopped anywhere, it goes on with the image that it was at. Where the bucket is slow it
    ends early: the next turn begins by the clock, and two would hold two of the worker's places.
    """
    left, checked = settings.CONTENT_CHECK_RATE * TURN, 0
    end = time.monotonic() + TURN / 2
    due = Image.objects.least_recently_checked(database_now() - REST)
    while left > 0 and time.monotonic() < end and (image := due.first()):
        require_own_bucket()  # in another every image would seem lost
        check(image.id)
        left -= image.size + sum(digest["size"] for digest in image.derived.values())
        checked += 1
    return checked


def check(image_id: uuid.UUID) -> None:
    """Read all of an image. What can be made again is made again; a damaged original is marked, a good one is not."""
    found = mend(look(image_id, content=True))
    for finding in found:
        if finding.part and not finding.done:
            log.error("image_damaged", image_id=str(image_id), kind=finding.kind, key=finding.key)
    fault_point("content_read")
    note(image_id, found, content=True)


def note(image_id: uuid.UUID, found: Sequence[Finding], *, content: bool) -> None:
    """Write down what was found of an image. Only who has read the `content` takes a mark away."""
    row = Image.objects.filter(id=image_id)
    if content:
        row.update(checked_at=Now())
    if any(is_loss(finding) for finding in found):
        row.filter(damaged_at=None).update(damaged_at=Now(), version=F("version") + 1)
    elif content:
        row.exclude(damaged_at=None).update(damaged_at=None, version=F("version") + 1)


def is_loss(finding: Finding) -> bool:
    """Whether it is about the bytes of an original, which nothing can replace."""
    return finding.part == "original" and finding.kind != "wrong_type"
