"""Making a backup, and looking whether it still is what was written."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from media_api.epoch import epoch, is_own_bucket
from media_api.exceptions import StorageUnavailable
from media_api.faults import fault_point
from media_api.fsck import Finding, Part, Unreadable, id_of, told_apart
from media_api.holds import CONFIRM, held_purges, is_unconfirmed
from media_api.images import facts_of
from media_api.models import Image, PendingDeletion, database_now, description_key
from media_api.storage import image_storage

from .folder import (
    IMAGES,
    BackupRefused,
    Manifest,
    Progress,
    Rows,
    Tell,
    claim,
    images_of,
    is_whole,
    known,
    locked,
    objects_of,
    read_manifest,
    require_whole_rows,
    settle,
    write_manifest,
    written,
)
from .rows import columns, copy_out, kept_tables, migrations, snapshot

PROGRESS = 1000
BATCH = 500

Write = Callable[[bytes], object]


def back_up(
    folder: Path, *, tell: Tell, progress: Progress, prune: bool = False
) -> tuple[Manifest, int]:
    """Make the folder, or bring it up to date; how many objects were copied. What the bucket does not have as the rows
    say is told, and left out. With `prune`, what images left that are gone from rows and bucket is removed.

    Raises BackupRefused, ForeignBucket, FileNotFoundError if the bucket was never claimed, and OSError.
    """
    if is_unconfirmed():
        raise BackupRefused(f"Something was restored, and nobody has confirmed it. {CONFIRM}")
    claim(folder, epoch())
    with locked(folder, alone=True), held_purges() as renew:
        moment, made_at, tables, images = _write_rows(folder)
        fault_point("rows_written")
        copy = Copy(folder, tell)
        for number, (image, text) in enumerate(images_of(folder, moment), 1):
            copy.image(image, text)
            renew()
            if number % PROGRESS == 0:
                progress(number)
        manifest = Manifest(
            made_at=made_at,
            epoch=str(epoch()),
            rows=moment,
            tables=tables,
            images=images,
            migrations=migrations(),
            objects=copy.objects,
            size=copy.size,
            damaged=copy.damaged,
        )
        write_manifest(folder, manifest)
        _remove_other_rows(folder, manifest)
        if prune:
            _remove_purged(folder)
    return manifest, copy.copied


# --- the rows -------------------------------------------------------------------------------------


def _write_rows(folder: Path) -> tuple[str, str, dict[str, Rows], Rows]:
    """All of one moment: the name of their folder, the moment, and what the files are."""
    with snapshot():
        now = database_now()
        moment = f"rows-{now:%Y%m%dT%H%M%S.%fZ}"
        (folder / moment).mkdir(mode=0o700)
        tables = {}
        for name, model in kept_tables().items():
            names = columns(model)
            fill = partial(copy_out, model, names)
            tables[name] = _write(folder / moment / name, fill, names)
        images = _write(folder / moment / IMAGES, _write_facts, [])
    return moment, now.isoformat(), tables, images


def _write(path: Path, fill: Callable[[Write], int], names: list[str]) -> Rows:
    digest = hashlib.sha256()
    with written(path) as file:

        def write(block: bytes) -> None:
            file.write(block)
            digest.update(block)

        count = fill(write)
    return Rows(count, digest.hexdigest(), names)


def _write_facts(write: Write) -> int:
    count = 0
    images = Image.objects.select_related("owner").order_by("id")
    for image in images.iterator(BATCH):
        write(json.dumps(facts_of(image), ensure_ascii=False).encode() + b"\n")
        count += 1
    return count


def _remove_other_rows(folder: Path, manifest: Manifest) -> None:
    """Those of the last backup, and of those that were stopped."""
    for place in folder.glob("rows-*"):
        if place.name != manifest.rows:
            shutil.rmtree(place)


# --- the objects ----------------------------------------------------------------------------------


class NotCopied(Exception):
    """Of which kind the finding is, and its detail."""


@dataclass
class Copy:
    """Copies what the folder does not have, one image after the other, and counts."""

    folder: Path
    tell: Tell
    objects: int = 0
    size: int = 0
    copied: int = 0
    damaged: int = 0

    def image(self, image: Image, text: bytes) -> None:
        """Its objects, then its image.json: that says which of them were looked at, and are not looked at again."""
        label = self.folder / description_key(image.id)
        told = known(label)
        is_seen = _digests(told) == _digests(json.loads(text))
        copied, damaged = self.copied, self.damaged
        label.parent.mkdir(exist_ok=True, mode=0o700)
        for key, part in objects_of(image).items():
            self._object(image, key, part, is_seen=is_seen)
        if self.copied > copied:
            settle(label.parent)
        if self.damaged == damaged and told != json.loads(text):
            with written(label) as file:
                file.write(text)

    def _object(self, image: Image, key: str, part: Part, *, is_seen: bool) -> None:
        path = self.folder / key
        try:
            if not (is_seen and _has_size(path, part)) and not is_whole(path, part):
                _fetch(key, part, path)
                self.copied += 1
                fault_point("object_copied")
        except NotCopied as reason:
            self.damaged += 1
            kind, detail = reason.args
            self.tell(Finding(kind, detail, key, image.id, part.name))
        else:
            self.objects += 1
            self.size += path.stat().st_size


def _digests(told: dict[str, object]) -> tuple[object, ...]:
    return tuple(told.get(name) for name in ("path", "sha256", "derived"))


def _has_size(path: Path, part: Part) -> bool:
    try:
        return part.may_have(path.stat().st_size)
    except FileNotFoundError:
        return False


def _fetch(key: str, part: Part, path: Path) -> None:
    """Copy an object into its file, or raise NotCopied; StorageUnavailable if the bucket is away."""
    limit = sys.maxsize if part.size is None else part.size
    with written(path) as file:
        try:
            with told_apart():
                size, sha256 = image_storage().fetch(key, file, limit=limit)
        except FileNotFoundError as error:
            if not is_own_bucket():
                raise StorageUnavailable("The bucket is not there.") from error
            raise NotCopied(f"missing_{part.name}", "It is not in the bucket.") from error
        except Unreadable as error:
            raise NotCopied("unreadable", str(error)) from error
        if not part.may_have(size):
            raise NotCopied("wrong_size", f"It has not {part.size:,} bytes.")
        if part.sha256 not in ("", sha256):
            raise NotCopied("wrong_hash", f"Its SHA-256 is not {part.sha256}.")


# --- what is in the folder ------------------------------------------------------------------------


def look_through(folder: Path, *, tell: Tell, progress: Progress) -> Manifest:
    """Read every file that belongs to the backup; what is missing or damaged is told. Raises BackupRefused."""
    with locked(folder, alone=False):
        manifest = read_manifest(folder)
        require_whole_rows(folder, manifest)
        for number, (image, _) in enumerate(images_of(folder, manifest.rows), 1):
            for key, part in objects_of(image).items():
                if not is_whole(folder / key, part):
                    tell(lost(image, key, part, folder))
            if number % PROGRESS == 0:
                progress(number)
    return manifest


def lost(image: Image, key: str, part: Part, folder: Path) -> Finding:
    is_there = (folder / key).exists()
    kind = "damaged_copy" if is_there else "missing_copy"
    detail = "The file is not what was copied." if is_there else "The backup has no such file."
    return Finding(kind, detail, key, image.id, part.name)


def _remove_purged(folder: Path) -> None:
    """What images left that have no row any more. Purges are held: what was deleted since has its PendingDeletion."""
    places = os.scandir(folder / "images")
    while batch := list(islice(places, BATCH)):
        ids = {found: place for place in batch if (found := id_of(f"images/{place.name}/"))}
        for model in (Image, PendingDeletion):
            for known_id in model.objects.filter(id__in=ids).values_list("id", flat=True):
                del ids[known_id]
        for place in ids.values():
            shutil.rmtree(place)
