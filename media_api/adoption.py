"""Images that only the bucket knows get their rows back.

Believed is nothing but the bytes: `image.json` says what they do not (owner, name, tags, date) and which they are
(SHA-256). Everything else is computed again, as for an upload.
"""

import json
import re
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, BinaryIO

import structlog
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction

from .examination import original_key, put_derived, stripped_key
from .faults import fault_point
from .fsck import IMAGES, Finding, Unreadable, explained, find, parts, told_apart
from .images import describe
from .models import (
    MAX_TAGS,
    TAG_LENGTH,
    Derived,
    Image,
    clean_name,
    clean_tag,
    description_key,
    hold_id,
    image_prefix,
)
from .originals import Unusable, decode_original, fetch_original
from .sandbox import Facts
from .storage import image_storage

log = structlog.get_logger(__name__)

MAX_DESCRIPTION = 256 * 1024  # bytes; a long one has less than 20,000
MAX_VERSION = 2**31 - 2
NONSENSE = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
    ValidationError,
)
SHA256 = re.compile(r"[0-9a-f]{64}")


class NotAdoptable(Exception):
    """The argument is the sentence that says why."""


@dataclass(frozen=True)
class Described:
    """What an `image.json` says that is looked at. All of it is of a form that a row can have."""

    owner: str
    name: str
    tags: list[str]
    date: datetime
    path: str
    size: int
    sha256: str
    version: int


def adopt(found: Sequence[Finding], *, owner: User | None = None) -> list[Finding]:
    """Bring back the image that unknown objects of one id belong to; the findings then say so, or why it cannot be."""
    image_id = found[0].image if found and found[0].key.startswith(IMAGES) else None
    if image_id is None or find(image_id) or explained(image_id):
        return list(found)
    try:
        image = _adopted(image_id, owner)
    except (NotAdoptable, Unusable) as reason:
        return [replace(finding, detail=f"{finding.detail} {reason}") for finding in found]
    log.info("image_adopted", image_id=str(image_id))
    own = parts(image)
    return [replace(each, done="adopted") if each.key in own else each for each in found]


def _adopted(image_id: uuid.UUID, owner: User | None) -> Image:
    """All is written before the row that says it is there. Stopped on the way, the image is as unknown as before."""
    told = described(image_id, _description(image_id))
    with tempfile.TemporaryFile() as file:
        facts = _look(image_id, told, file)
        image = _image(image_id, told, facts, put_derived(image_id, file, facts))
    image.owner = owner or _account(told.owner)
    describe(image)
    fault_point("adoptable_found")
    with transaction.atomic():
        hold_id(image_id)
        if find(image_id) or explained(image_id):
            raise NotAdoptable("It has a row by now.")
        image.save(force_insert=True)
    return image


def _description(image_id: uuid.UUID) -> bytes:
    with tempfile.TemporaryFile() as file:
        try:
            with told_apart():
                key = description_key(image_id)
                size, _ = image_storage().fetch(key, file, limit=MAX_DESCRIPTION)
        except FileNotFoundError as error:
            raise NotAdoptable("It has no image.json.") from error
        except Unreadable as error:
            raise NotAdoptable("Its image.json cannot be read.") from error
        if size > MAX_DESCRIPTION:
            raise NotAdoptable("Its image.json is too long.")
        return file.read()


def described(image_id: uuid.UUID, body: bytes) -> Described:
    """Read an `image.json`. Raises NotAdoptable for whatever a row could not have."""
    try:
        return _described(image_id, json.loads(body))
    except NONSENSE as error:
        raise NotAdoptable("Its image.json is not one.") from error


def _described(image_id: uuid.UUID, told: dict[str, Any]) -> Described:
    date = datetime.fromisoformat(told["date"])
    version = told.get("version", 1)
    _must(isinstance(told["tags"], list))
    tags = [clean_tag(tag) for tag in told["tags"]]
    _must(told["id"] == str(image_id) and date.tzinfo is not None)
    _must(told["path"].startswith(f"{image_prefix(image_id)}original."))
    _must(
        type(told["size"]) is int
        and told["size"] > 0
        and SHA256.fullmatch(told["sha256"]) is not None
    )
    _must(len(tags) <= MAX_TAGS and all(_is_tag(tag) for tag in tags))
    _must(type(version) is int and 0 < version <= MAX_VERSION)
    User(username=told["owner"]).clean_fields(exclude=["password"])
    return Described(
        owner=told["owner"],
        name=clean_name(told["name"]),
        tags=list(dict.fromkeys(tags)),
        date=date.astimezone(UTC),
        path=told["path"],
        size=told["size"],
        sha256=told["sha256"],
        version=version,
    )


def _is_tag(tag: str) -> bool:
    return 0 < len(tag) <= TAG_LENGTH and "," not in tag and tag.isprintable()


def _must(hold: bool) -> None:
    if not hold:
        raise ValueError


def _look(image_id: uuid.UUID, told: Described, file: BinaryIO) -> Facts:
    """Copy the original into a local file and decode it: it must be what was described."""
    fetch_original(told.path, file, size=told.size, sha256=told.sha256)
    facts = decode_original(file)
    if original_key(image_id, facts) != told.path:
        raise NotAdoptable(f"Its original is {facts.content_type}, which its key does not say.")
    return facts


def _image(image_id: uuid.UUID, told: Described, facts: Facts, derived: Derived) -> Image:
    return Image(
        id=image_id,
        name=told.name,
        tags=told.tags,
        path=told.path,
        stripped_path=stripped_key(image_id, facts),
        size=told.size,
        date=told.date,
        content_type=facts.content_type,
        width=facts.width,
        height=facts.height,
        frames=facts.frames,
        sha256=told.sha256,
        sides=[rendition.side for rendition in facts.renditions],
        placeholder=facts.placeholder,
        derived=derived,
        version=told.version,
    )


def _account(name: str) -> User:
    """The owner; made, without a password, if there is none of this name. `manage.py user` lets somebody in."""
    owner, _ = User.objects.get_or_create(username=name, defaults={"password": make_password(None)})
    return owner
