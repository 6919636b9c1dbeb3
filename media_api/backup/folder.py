"""The folder of a backup: what is in it, and how files get there so that none is ever half written."""

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

from media_api.fsck import Finding, Part, parts
from media_api.models import Image, image_prefix, last_part
from media_api.storage import EPOCH_KEY, META

FORMAT = 1
MANIFEST, IMAGES, LOCK = "backup.json", "images.jsonl", f"{META}lock"

Tell = Callable[[Finding], None]
Progress = Callable[[int], None]


class BackupRefused(Exception):
    """The argument is the sentence that says why; it mostly is the folder's fault."""


# --- its backup.json ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rows:
    """A file of rows: how many, the SHA-256 of the file, and of a table its columns."""

    count: int
    sha256: str
    columns: list[str]


@dataclass(frozen=True)
class Manifest:
    """What belongs to a backup. Damaged are objects that the bucket did not have as the rows said."""

    made_at: str
    epoch: str
    rows: str  # the folder
    tables: dict[str, Rows]
    images: Rows
    migrations: dict[str, str]
    objects: int
    size: int
    damaged: int
    format: int = FORMAT


def read_manifest(folder: Path) -> Manifest:
    """Raises BackupRefused."""
    try:
        told = json.loads((folder / MANIFEST).read_bytes())
        tables = {name: Rows(**table) for name, table in told.pop("tables").items()}
        manifest = Manifest(tables=tables, images=Rows(**told.pop("images")), **told)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BackupRefused(
            f"{folder} holds no backup that was finished: there is no {MANIFEST}."
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BackupRefused(f"{folder / MANIFEST} cannot be read.") from error
    if manifest.format != FORMAT:
        raise BackupRefused(f"{folder} was made by another version of Shoebox: use that one.")
    return manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """From here on this is the backup. Everything that it names has its name on the disk before."""
    for place in (folder / manifest.rows, folder / "images", folder):
        settle(place)
    with written(folder / MANIFEST) as file:
        file.write(json.dumps(asdict(manifest), indent=1).encode())
    settle(folder)


def require_whole_rows(folder: Path, manifest: Manifest) -> None:
    """Raises BackupRefused unless every file of rows is what was written."""
    files = {IMAGES: manifest.images, **manifest.tables}
    for name, rows in files.items():
        path = folder / manifest.rows / name
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            found = ""
        if found != rows.sha256:
            raise BackupRefused(f"{path} is missing or damaged: take another copy of this backup.")


# --- its images -----------------------------------------------------------------------------------


def images_of(folder: Path, rows: str) -> Iterator[tuple[Image, bytes]]:
    """Each image of a backup, as far as its objects go, and what its image.json says."""
    with (folder / rows / IMAGES).open("rb") as lines:
        for line in lines:
            told = json.loads(line)
            image = Image(
                id=UUID(told["id"]),
                **{name: told[name] for name in ("path", "stripped_path", "size", "content_type")},
                **{name: told[name] for name in ("sha256", "sides", "derived")},
            )
            yield image, json.dumps(told, ensure_ascii=False, indent=1).encode()


def objects_of(image: Image) -> dict[str, Part]:
    """What is copied, by its key. Raises BackupRefused for a key that would lead out of the image's folder."""
    objects = {key: part for key, part in parts(image).items() if part.name != "description"}
    for key in objects:
        if key != image_prefix(image.id) + last_part(key) or last_part(key).startswith("."):
            raise BackupRefused(f"{key} is no key of an image.")
    return objects


def is_whole(path: Path, part: Part) -> bool:
    """Whether a file has the size and the bytes that are known of the object."""
    try:
        with path.open("rb") as file:
            return part.may_have(os.fstat(file.fileno()).st_size) and (
                not part.sha256 or hashlib.file_digest(file, "sha256").hexdigest() == part.sha256
            )
    except FileNotFoundError:
        return False


# --- files ----------------------------------------------------------------------------------------


@contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """A file for us alone, that gets its name when all of it is on the disk; none if something is raised."""
    new = path.with_name(f"{path.name}.new")
    descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fsync(descriptor)
        new.rename(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def settle(folder: Path) -> None:
    """The names in a folder are on the disk too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def claim(folder: Path, epoch: UUID) -> None:
    """Make a folder for the backups of this installation, or find the one that it has. Raises BackupRefused."""
    mark = folder / EPOCH_KEY
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if mark.exists():
        if mark.read_text() != str(epoch):
            raise BackupRefused(
                f"{folder} holds backups of another installation: name another one."
            )
        return
    if {path.name for path in folder.iterdir()} - {mark.parent.name}:
        raise BackupRefused(f"{folder} is not empty and holds no backup: name a folder of its own.")
    folder.chmod(0o700)
    for place in (mark.parent, folder / "images"):
        place.mkdir(exist_ok=True, mode=0o700)
    with written(mark) as file:
        file.write(str(epoch).encode())


@contextmanager
def locked(folder: Path, *, alone: bool) -> Iterator[None]:
    """Nobody writes there until the end of the block but who is `alone`. Raises BackupRefused if somebody does."""
    access = os.O_RDWR | os.O_CREAT if alone else os.O_RDONLY
    try:
        descriptor = os.open(folder / LOCK, access, 0o600)
    except FileNotFoundError as error:
        raise BackupRefused(f"{folder} holds no backup.") from error
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BackupRefused(f"Another backup or restore is using {folder}.") from error
        yield
    finally:
        os.close(descriptor)


def known(label: Path) -> dict[str, Any]:
    """What the image.json of a folder says; nothing where there is none."""
    try:
        told = json.loads(label.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}
