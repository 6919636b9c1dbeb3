"""Whether everything is there: each row has its objects, and each object has a row that explains it.

Rows and the bucket's listing are read side by side, in the order of their ids, a page of each at a time: memory does
not grow with them. Both go on changing meanwhile, so what does not match is only suspected: `look` asks anew about that
one image, and again if its row changed while it did.

Nothing here changes anything. What can be done about a finding is in `repair`, `adoption` and `removal`.
"""

import heapq
import json
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

from django.db import connection

from .epoch import require_own_bucket
from .exceptions import ForeignBucket, StorageUnavailable
from .images import description
from .models import (
    Image,
    PendingDeletion,
    Upload,
    description_key,
    image_prefix,
    last_part,
    staging_key,
)
from .storage import EPOCH_KEY, StoredObject, image_storage

IMAGES, STAGING = "images/", "staging/"
BATCH = 500

WRONG_USAGE = """
SELECT username, used, there FROM media_api_usage FULL JOIN (
    SELECT owner_id, sum(size) AS there FROM (
        SELECT owner_id, size FROM media_api_image
        UNION ALL
        SELECT owner_id, size FROM media_api_upload WHERE state IN ('announced', 'staged')
    ) AS sizes GROUP BY owner_id
) AS sums USING (owner_id) JOIN auth_user ON auth_user.id = owner_id
WHERE coalesce(used, 0) <> coalesce(there, 0)
"""


WRONG_TAGS = """
SELECT username, count(*) FROM (
    SELECT owner_id, tag, date, id AS image_id FROM media_api_image, unnest(tags) AS tag WHERE trashed_at IS NULL
) AS there FULL JOIN media_api_imagetag AS said USING (owner_id, tag, date, image_id)
LEFT JOIN auth_user ON auth_user.id = owner_id
WHERE there.image_id IS NULL OR said.image_id IS NULL GROUP BY username
"""


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be: which kind, of which image if of one, under which key."""

    kind: str
    detail: str
    key: str = ""
    image: uuid.UUID | None = None
    part: str = ""  # of the image: original, stripped, rendition, description
    written_at: datetime | None = None  # of an unknown object
    done: str = ""  # what was done about it


@dataclass(frozen=True)
class Part:
    """An object that an image should have. Size and hash are not known of what was made before we wrote them down."""

    name: str
    content_type: str
    size: int | None = None
    sha256: str = ""

    def may_have(self, size: int) -> bool:
        return size > 0 if self.size is None else size == self.size


def parts(image: Image) -> dict[str, Part]:
    """By their keys, what should lie below `images/<id>/`."""
    should = {
        image.path: Part("original", image.content_type, image.size, image.sha256),
        description_key(image.id): Part("description", "application/json"),
    }
    if image.stripped_path not in ("", image.path):
        key = image.stripped_path
        should[key] = Part("stripped", image.content_type, **_digest(image, key))
    for side in image.sides:
        key = image.rendition_key(side)
        should[key] = Part("rendition", "image/webp", **_digest(image, key))
    return should


# --- all of it ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """A folder below images/: its name, and whether the listing already agrees with the row."""

    name: str
    agrees: bool

    @property
    def image_id(self) -> uuid.UUID | None:
        return id_of(f"{IMAGES}{self.name}")


def places(*, after: uuid.UUID | None = None) -> Iterator[Place]:
    """Every folder below images/ that a row or an object is there for, in order, from behind `after`."""
    streams: list[Iterator[tuple[str, Image | StoredObject]]] = [_rows(after), _objects(after)]
    entries = heapq.merge(*streams, key=itemgetter(0))  # of the same name, the row comes first
    for name, here in groupby(entries, key=itemgetter(0)):
        yield Place(name, _agree(entry for _, entry in here))


def _rows(after: uuid.UUID | None) -> Iterator[tuple[str, Image | StoredObject]]:
    last, images = after or uuid.UUID(int=0), Image.objects.defer("placeholder", "tags", "words")
    while batch := list(images.filter(id__gt=last).order_by("id")[:BATCH]):
        yield from ((f"{image.id}/", image) for image in batch)
        last = batch[-1].id


def _objects(after: uuid.UUID | None) -> Iterator[tuple[str, Image | StoredObject]]:
    for stored in image_storage().objects(IMAGES, after=f"{IMAGES}{after}0" if after else ""):
        folder, slash, _ = stored.key.removeprefix(IMAGES).partition("/")
        if after is None or folder > str(after):  # some stores start anywhere
            yield folder + slash, stored


def _agree(entries: Iterable[Image | StoredObject]) -> bool:
    """Of one folder: the row, if there is one, then the objects."""
    should: dict[str, Part] = {}
    for entry in entries:
        if isinstance(entry, Image):
            should = parts(entry)
        elif not ((part := should.pop(entry.key, None)) and part.may_have(entry.size)):
            return False
    return not should


def look_into(place: Place, *, quick: bool = False, content: bool = False) -> Iterable[Finding]:
    """What is wrong in a folder. A `quick` look believes a listing that agrees, so it sees no types."""
    if place.image_id is None:
        prefix = f"{IMAGES}{place.name}"
        return (
            _unknown(stored)
            for stored in image_storage().objects(prefix)
            if stored.key == prefix or prefix.endswith("/")
        )
    if quick and place.agrees:
        return []
    return look(place.image_id, content=content)


def id_of(key: str) -> uuid.UUID | None:
    """The id in `images/<id>/...` or `staging/<id>`, if it is written as we write it."""
    room, _, rest = key.partition("/")
    text, slash, _ = rest.partition("/")
    if bool(slash) != (room == "images"):
        return None
    try:
        found = uuid.UUID(text)
    except ValueError:
        return None
    return found if str(found) == text else None


def look_into_staging() -> Iterator[Finding]:
    """Objects of no upload under way. A row is older than any byte under its key, so none will come later."""
    stored = image_storage().objects(STAGING)
    while batch := list(islice(stored, BATCH)):
        ids = [found for one in batch if (found := id_of(one.key))]
        living = Upload.objects.living().filter(id__in=ids).values_list("id", flat=True)
        explained_keys = {staging_key(upload_id) for upload_id in living}
        for one in batch:
            if one.key not in explained_keys and image_storage().size_of(one.key) is not None:
                yield _unknown(one)


def look_at_epoch() -> Iterator[Finding]:
    try:
        require_own_bucket()
    except ForeignBucket as error:
        yield Finding("foreign_bucket", str(error), EPOCH_KEY)
    except FileNotFoundError:
        yield Finding("foreign_bucket", "No `_meta/epoch` says whose bucket it is.", EPOCH_KEY)


def look_at_usage() -> Iterator[Finding]:
    with connection.cursor() as cursor:
        cursor.execute(WRONG_USAGE)
        for username, used, there in cursor.fetchall():
            detail = f"{username} has {there or 0:,} bytes, and the row says {used or 0:,}."
            yield Finding("wrong_usage", detail)


def look_at_tags() -> Iterator[Finding]:
    with connection.cursor() as cursor:
        cursor.execute(WRONG_TAGS)
        for username, count in cursor.fetchall():
            yield Finding("wrong_tags", f"Lists by tag of {username} are wrong in {count:,} rows.")


# --- one image ------------------------------------------------------------------------------------


def look(image_id: uuid.UUID, *, content: bool = False) -> list[Finding]:
    """What is wrong with an image, or with what lies where one of this id would; with `content`, every byte is read.

    True of one moment: it looks again if the row came, went or changed meanwhile.
    """
    while True:
        image = find(image_id)
        standing = _standing(image_id, image)
        if image:
            found = list(_compare(image, content=content))
        elif explained(image_id):
            found = []
        else:
            found = [_unknown(stored) for stored in image_storage().objects(image_prefix(image_id))]
        if standing == _standing(image_id, find(image_id)):
            return found


def find(image_id: uuid.UUID) -> Image | None:
    return Image.objects.select_related("owner").filter(id=image_id).first()


def _standing(image_id: uuid.UUID, image: Image | None) -> tuple[int | None, bool]:
    """The version of the row, and whether something else explains objects of this id."""
    return image.version if image else None, explained(image_id)


def explained(image_id: uuid.UUID) -> bool:
    """Without an image: an upload that may become one, or objects that are about to be removed."""
    return (
        Upload.objects.living().filter(id=image_id).exists()
        or PendingDeletion.objects.filter(id=image_id).exists()
    )


def _compare(image: Image, *, content: bool) -> Iterator[Finding]:
    should = parts(image)
    for stored in image_storage().objects(image_prefix(image.id)):
        part = should.pop(stored.key, None)
        if part is None:
            yield _unknown(stored, image)
        else:
            yield from _judge(image, part, stored, content=content)
    for key, part in should.items():
        yield _of(image, part, key, f"missing_{part.name}", "It is not in the bucket.")


def _judge(image: Image, part: Part, stored: StoredObject, *, content: bool) -> Iterator[Finding]:
    key = stored.key
    if not part.may_have(stored.size):
        expected = "more" if part.size is None else f"{part.size:,}"
        detail = f"It has {stored.size:,} bytes instead of {expected}."
        yield _of(image, part, key, "wrong_size", detail)
        return
    content_type = image_storage().type_of(key)
    if content_type not in (None, part.content_type):  # None: removed since it was listed
        detail = f"It is stored as {content_type} instead of {part.content_type}."
        yield _of(image, part, key, "wrong_type", detail)
    if content:
        yield from _read(image, part, stored)


def _read(image: Image, part: Part, stored: StoredObject) -> Iterator[Finding]:
    storage, key = image_storage(), stored.key
    try:
        with told_apart():
            if part.name == "description":
                if not _describes(storage.read(key), image):
                    detail = "It is not what the row says."
                    yield _of(image, part, key, "wrong_description", detail)
            elif part.sha256 not in ("", storage.digest(key, limit=stored.size)[1]):
                detail = f"Its SHA-256 is not {part.sha256}."
                yield _of(image, part, key, "wrong_hash", detail)
    except FileNotFoundError:
        yield _of(image, part, key, f"missing_{part.name}", "It is listed and not there.")
    except Unreadable as error:
        yield _of(image, part, key, "unreadable", str(error))


class Unreadable(Exception):
    """The bucket answers, and cannot give this object."""

    def __init__(self) -> None:
        super().__init__("The bucket cannot give all of it.")


@contextmanager
def told_apart() -> Iterator[None]:
    """Raises Unreadable when it was the object's fault, and StorageUnavailable when the bucket is away."""
    try:
        yield
    except StorageUnavailable as error:
        image_storage().size_of(EPOCH_KEY)  # raises if the bucket is away
        raise Unreadable from error


def _describes(body: bytes, image: Image) -> bool:
    """A move into the trash and back counts the version up, and is not described."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return False
    expected = json.loads(description(image))
    return isinstance(told, dict) and told | {"version": 0} == expected | {"version": 0}


def _digest(image: Image, key: str) -> dict[str, Any]:
    return dict(image.derived.get(last_part(key), {}))


def _of(image: Image, part: Part, key: str, kind: str, detail: str) -> Finding:
    return Finding(kind, detail, key, image.id, part.name)


def _unknown(stored: StoredObject, image: Image | None = None) -> Finding:
    what = "Its image has no such part" if image else "No row explains it"
    detail = f"{what}: {stored.size:,} bytes of {stored.written_at:%Y-%m-%d %H:%M}."
    place = id_of(stored.key)
    return Finding("unknown_object", detail, stored.key, place, written_at=stored.written_at)
