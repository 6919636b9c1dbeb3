"""The rows of one moment and the objects that they speak of, in a folder of plain files; and back from there.

    backup.json             what belongs to it, written last: without it there is no backup
    _meta/epoch             whose it is
    rows-<moment>/          a file for each table, and images.jsonl: what each image.json says
    images/<id>/...         as in the bucket

The rows come first, the objects after: objects never change, and a running backup holds the purges, so all that the
rows speak of is still there. Another backup into the same folder copies what is new. Until its backup.json takes the
place of the last one, that one is as whole as it was.
"""

from .folder import BackupRefused, Manifest
from .making import back_up, look_through
from .restoring import NotRestored, put_back, restore

__all__ = [
    "BackupRefused",
    "Manifest",
    "NotRestored",
    "back_up",
    "look_through",
    "put_back",
    "restore",
]
