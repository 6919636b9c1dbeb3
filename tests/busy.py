"""A process that tests kill: `python -m tests.busy SEED ATTEMPTS OWNER...` uses space as fast as it can.

Of each attempt it prints a line: `announced`, `quota_exceeded`, or `cut: ` and what the database said.
"""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from random import Random

import django
from django.db import InterfaceError, OperationalError, connection

if __name__ == "__main__":
    django.setup()

from django.contrib.auth.models import User

from media_api import examination, images, sweeps, uploads
from media_api.exceptions import DatabaseUnavailable, NotAnImage, QuotaExceeded
from media_api.models import Image, Upload, database_now
from media_api.sandbox import Facts
from media_api.uploads import Announcement

THREADS = 6
SIZE = 1000
SHA256 = "0" * 64
FACTS = Facts("image/jpeg", "jpg", 8, 6, 1, placeholder="data:,", renditions=(), cuts=())


def leave(upload: Upload) -> None:
    pass


def expire(upload: Upload) -> None:
    past = database_now() - timedelta(seconds=1)
    Upload.objects.filter(id=upload.id).update(expires_at=past)
    sweeps.expire_batch()


def refuse(upload: Upload) -> None:
    uploads.mark_staged(upload)
    examination.refuse(upload, NotAnImage())


def keep(upload: Upload) -> None:
    uploads.mark_staged(upload)
    Upload.objects.filter(id=upload.id).update(sha256=SHA256)
    upload.sha256 = SHA256
    examination.keep(upload, FACTS, {})


def delete_some(upload: Upload) -> None:
    """Of all owners, as the trash is emptied."""
    keep(upload)
    some = list(Image.objects.order_by("sha256", "id").values_list("id", flat=True)[:3])
    images.delete(Image.objects.filter(id__in=some))


ENDS: list[Callable[[Upload], None]] = [
    leave,
    leave,
    leave,
    keep,
    keep,
    keep,
    uploads.withdraw,
    refuse,
    expire,
    delete_some,
]


def attempt(owner: User, dice: Random) -> None:
    try:
        upload = uploads.announce(owner, Announcement("cat.jpg", SIZE, "image/jpeg"))
        say("announced")
        dice.choice(ENDS)(upload)
    except QuotaExceeded:
        say("quota_exceeded")
    except (OperationalError, InterfaceError, DatabaseUnavailable) as error:
        say(f"cut: {one_line(error)}")
        connection.close()


def say(line: str) -> None:
    print(f"{line}\n", end="", flush=True)  # one write, as the threads share the output


def one_line(error: BaseException) -> str:
    """What went wrong, down to what the database said."""
    causes = f" from {one_line(error.__cause__)}" if error.__cause__ else ""
    return " ".join(str(error).split()) + causes


def work(seed: int, attempts: int, owners: list[User]) -> None:
    dice = Random(seed)
    for _ in range(attempts):
        attempt(dice.choice(owners), dice)
    connection.close()


if __name__ == "__main__":
    seed, attempts, names = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    owners = list(User.objects.filter(username__in=names))
    with ThreadPoolExecutor(THREADS) as pool:
        done = [
            pool.submit(work, 1000 * seed + n, attempts // THREADS, owners) for n in range(THREADS)
        ]
    for future in done:
        future.result()
