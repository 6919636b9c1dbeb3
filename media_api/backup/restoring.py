"""From the folder of a backup back into database and bucket.

The objects first, then the rows, in one transaction: whoever reads a row finds its objects. Stopped on the way, it can
be begun again. Nothing is removed afterwards before an operator has confirmed (`holds`).
"""

from dataclasses import dataclass
from pathlib import Path

from django.db import transaction
from django.db.models.functions import Now

from media_api.epoch import epoch, require_private_bucket, take_bucket
from media_api.faults import fault_point
from media_api.fsck import Part, Unreadable, find, told_apart
from media_api.images import describe_again
from media_api.models import (
    ApiKey,
    Image,
    Installation,
    PendingDeletion,
    Upload,
    description_key,
    image_prefix,
)
from media_api.storage import EPOCH_KEY, META, image_storage

from .folder import (
    Manifest,
    Progress,
    Tell,
    images_of,
    is_whole,
    locked,
    objects_of,
    read_manifest,
    require_whole_rows,
)
from .making import PROGRESS, lost
from .rows import copy_in, count_on, digest_of, empty_all, kept_tables, lock_all, migrations


class NotRestored(Exception):
    """The argument is the sentence that says why nothing was, or why the rows were not."""


def restore(folder: Path, *, tell: Tell, progress: Progress) -> tuple[Manifest, int]:
    """All of a backup into an empty database, and into a bucket that is empty or the one that the rows are of.

    How many objects were put; those that the backup does not have are told. Raises BackupRefused, NotRestored and
    PublicBucket.
    """
    with locked(folder, alone=False):
        manifest = read_manifest(folder)
        _require_same_tables(manifest)
        require_whole_rows(folder, manifest)
        _require_empty_database()
        _claim_bucket(manifest)
        take_bucket()
        Installation.objects.update(restored_at=Now())
        put = Put(folder, tell)
        for number, (image, text) in enumerate(images_of(folder, manifest.rows), 1):
            put.image(image, text)
            if number % PROGRESS == 0:
                progress(number)
        _load(folder, manifest)
    return manifest, put.count


def put_back(folder: Path, *, tell: Tell, progress: Progress) -> tuple[Manifest, int]:
    """What the bucket misses of the images that the database has; how many objects were put.

    Raises BackupRefused, NotRestored and PublicBucket.
    """
    with locked(folder, alone=False):
        manifest = read_manifest(folder)
        require_whole_rows(folder, manifest)
        if manifest.epoch != str(epoch()):
            raise NotRestored("The backup is of another installation than this database.")
        if _claim_bucket(manifest):
            Installation.objects.update(restored_at=Now())
        put = Put(folder, tell)
        for number, (image, _) in enumerate(images_of(folder, manifest.rows), 1):
            if row := find(image.id):
                put.image(row)
            if number % PROGRESS == 0:
                progress(number)
    return manifest, put.count


# --- what must hold -------------------------------------------------------------------------------


def _require_same_tables(manifest: Manifest) -> None:
    here = migrations()
    others = [f"{app} {name}" for app, name in manifest.migrations.items() if here.get(app) != name]
    if others or manifest.tables.keys() != kept_tables().keys():
        raise NotRestored(
            f"The backup was made at other migrations ({', '.join(others)}): bring this database there "
            "(`manage.py migrate APP NAME`, with the version that made the backup if this one does not know them), "
            "restore, then `manage.py migrate`."
        )


def _require_empty_database() -> None:
    """Accounts that have nothing, such as the one that `make run` makes, are replaced."""
    for model in (Image, Upload, PendingDeletion, ApiKey):
        if model._default_manager.exists():
            raise NotRestored(
                f"The database is not empty, it has {model._meta.verbose_name_plural}: restore into a new one, or put "
                "back what the bucket misses with --objects."
            )


def _claim_bucket(manifest: Manifest) -> bool:
    """Make the bucket that of the backup, if it is empty; whether it had to be made so."""
    storage = image_storage()
    storage.make_bucket()
    require_private_bucket()
    try:
        if storage.read(EPOCH_KEY) == manifest.epoch.encode():
            return False
    except FileNotFoundError:
        pass
    if any(not key.startswith(META) for key in storage.keys("")):
        raise NotRestored(
            f"The bucket {storage.bucket_name} has objects that are not of this backup: empty it, or name another "
            "one in S3_BUCKET."
        )
    storage.keep(EPOCH_KEY, manifest.epoch.encode(), content_type="text/plain")
    return True


# --- the objects ----------------------------------------------------------------------------------


@dataclass
class Put:
    """Puts what is not in the bucket, byte for byte, and counts."""

    folder: Path
    tell: Tell
    count: int = 0

    def image(self, image: Image, text: bytes | None = None) -> None:
        """Its objects, then its image.json if it has none: this text, or what its row says."""
        listed = image_storage().objects(image_prefix(image.id))
        there = {stored.key: stored.size for stored in listed}
        for key, part in objects_of(image).items():
            if not _is_there(key, part, there.get(key)):
                self._object(image, key, part)
        label = description_key(image.id)
        if label not in there:
            if text is None:
                describe_again(image.id)
            else:
                image_storage().keep(
                    label, text, content_type="application/json", caching="no-cache"
                )

    def _object(self, image: Image, key: str, part: Part) -> None:
        path = self.folder / key
        if not is_whole(path, part):
            self.tell(lost(image, key, part, self.folder))
            return
        with path.open("rb") as file:
            image_storage().keep(key, file, content_type=part.content_type)
        self.count += 1
        fault_point("object_put_back")


def _is_there(key: str, part: Part, size: int | None) -> bool:
    """Whether the bucket can give the very bytes."""
    if size is None or not part.may_have(size):
        return False
    try:
        with told_apart():
            return part.sha256 in ("", image_storage().digest(key, limit=size)[1])
    except (FileNotFoundError, Unreadable):
        return False


# --- the rows -------------------------------------------------------------------------------------


def _load(folder: Path, manifest: Manifest) -> None:
    """All of them, or none: each table must give back what was written of it."""
    models = kept_tables()
    with transaction.atomic():
        lock_all()
        _require_empty_database()  # still
        empty_all()
        for name, rows in manifest.tables.items():
            with (folder / manifest.rows / name).open("rb") as file:
                copy_in(models[name], rows.columns, file)
            if digest_of(models[name], rows.columns) != rows.sha256:
                raise NotRestored(f"The rows of {name} came back as others: none was restored.")
        count_on()
        Installation.objects.update(restored_at=Now())
        fault_point("rows_loaded")
