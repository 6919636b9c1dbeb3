"""An original that lies in the bucket is read once more: it is what it should be, or the reason why not is told."""

from typing import BinaryIO

from .examination import decode
from .exceptions import DecoderCrashed, Verdict
from .fsck import Unreadable, told_apart
from .sandbox import Facts
from .storage import image_storage


class Unusable(Exception):
    """The argument is the sentence that says why."""


def fetch_original(path: str, file: BinaryIO, *, size: int, sha256: str) -> None:
    """Copy it into a local file. Raises Unusable, and StorageUnavailable when the bucket is away."""
    try:
        with told_apart():
            fetched = image_storage().fetch(path, file, limit=size)
    except FileNotFoundError as error:
        raise Unusable("Its original is missing.") from error
    except Unreadable as error:
        raise Unusable("Its original cannot be read.") from error
    if fetched != (size, sha256):
        raise Unusable("Its original is not what was written down of it.")


def decode_original(file: BinaryIO) -> Facts:
    """Raises Unusable."""
    try:
        return decode(file)
    except (Verdict, DecoderCrashed) as error:
        raise Unusable(f"Its original cannot be read within the limits: {error}") from error
