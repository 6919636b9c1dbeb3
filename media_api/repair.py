"""What was made of an original is made again from it: stripped copy, renditions, image.json.

Only from an original that has the size and SHA-256 of its row. Nothing ever takes the place of one that has not.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from typing import BinaryIO

import structlog
from django.db.models import F

from .examination import put_derived, stripped_key
from .faults import fault_point
from .fsck import Finding, find
from .images import describe_again
from .models import Image
from .originals import Unusable, decode_original, fetch_original
from .storage import image_storage

log = structlog.get_logger(__name__)


def mend(found: Sequence[Finding]) -> list[Finding]:
    """Put right what can be of one image; the same findings, which now say what was done or why it was not.

    Safe to repeat and to run twice at once: the same bytes are written again.
    """
    broken = [finding for finding in found if _is_mendable(finding)]
    image = find(broken[0].image) if broken and broken[0].image else None
    if image is None:
        return list(found)
    try:
        _make_again(image, {finding.part for finding in broken})
    except Unusable as reason:
        return [_told(finding, str(reason)) if finding in broken else finding for finding in found]
    log.info("image_repaired", image_id=str(image.id), keys=[finding.key for finding in broken])
    return [
        replace(finding, done="made again") if finding in broken else finding for finding in found
    ]


def _is_mendable(finding: Finding) -> bool:
    """Of an original only the type, which is no part of its bytes."""
    return finding.part != "" and (finding.part != "original" or finding.kind == "wrong_type")


def _told(finding: Finding, reason: str) -> Finding:
    return replace(finding, detail=f"{finding.detail} {reason}")


def _make_again(image: Image, parts: set[str]) -> None:
    with tempfile.TemporaryFile() as file:
        if parts != {"description"}:
            fetch_original(image.path, file, size=image.size, sha256=image.sha256)
            fault_point("original_fetched")
        if "original" in parts:
            image_storage().keep(image.path, file, content_type=image.content_type)
        if parts & {"stripped", "rendition"}:
            _derive(image, file)
    describe_again(image.id)


def _derive(image: Image, file: BinaryIO) -> None:
    facts = decode_original(file)
    derived = put_derived(image.id, file, facts)
    Image.objects.filter(id=image.id).update(
        derived=derived,
        sides=[rendition.side for rendition in facts.renditions],
        stripped_path=stripped_key(image.id, facts),
        version=F("version") + 1,
    )
