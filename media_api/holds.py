"""Why nothing is removed for now: a backup is running, or something was restored and nobody has confirmed it.

A backup reads the objects of rows of a moment that is past, so it holds the purges: by a row with an expiry, put off
while it runs, so that one that was killed does not hold them for long.

After a restore, database and bucket are of different moments, and what one does not explain the other may miss. Our own
restore says so in the row; one by other means (pg_restore, a snapshot of a disk) is noticed by turns: a number that
stands in the database and in the bucket and goes forward every ten minutes, in the database first. Of a bucket that is
ahead the database is older; a bucket that is behind by more than one is older itself.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import BytesIO

import structlog
from django.db import models, transaction
from django.db.models.functions import Now

from .epoch import installation, require_own_bucket
from .faults import fault_point
from .models import Hold, Installation, PendingDeletion, Upload, database_now, description_key
from .storage import TURN_KEY, image_storage

log = structlog.get_logger(__name__)

LIFETIME = timedelta(minutes=30)  # longer than the largest object takes
PAUSE = 60  # seconds
MAX_DIGITS = 20

CONFIRM = "Compare them with `manage.py fsck`, then say `manage.py restore --confirm`."


def is_held() -> bool:
    """Whether the objects of deleted images are to stay. To be asked after what was deleted was looked up: then no
    backup can begin in between that still has its row. Raises what `is_unconfirmed` does."""
    return running().exists() or is_unconfirmed()


def reason() -> str:
    """Why something is held, for people; nothing is asked of the bucket, and nothing noticed."""
    sentence = restored()
    return f"{sentence} {CONFIRM}" if sentence else backing_up()


def restored() -> str:
    if moment := installation().restored_at:
        return (
            f"Database or bucket were restored at {moment:%Y-%m-%d %H:%M} UTC, and nobody has confirmed that they "
            "belong together: nothing is removed by the clock."
        )
    return ""


def backing_up() -> str:
    if hold := running().first():
        return f"A backup is running {hold}: what is deleted is removed when it ends."
    return ""


def running() -> "models.QuerySet[Hold]":
    return Hold.objects.filter(expires_at__gt=Now())


# --- backups --------------------------------------------------------------------------------------


@contextmanager
def held_purges() -> Iterator[Callable[[], None]]:
    """Until the end of the block. What it gives is to be called often, and puts the expiry off."""
    hold = Hold.objects.create(expires_at=database_now() + LIFETIME)
    renewed = time.monotonic()

    def renew() -> None:
        nonlocal renewed
        if time.monotonic() - renewed > PAUSE:
            Hold.objects.filter(id=hold.id).update(expires_at=Now() + LIFETIME)
            renewed = time.monotonic()

    try:
        yield renew
    finally:
        hold.delete()


# --- restores -------------------------------------------------------------------------------------


def is_unconfirmed() -> bool:
    """Whether database or bucket were restored, and no operator has said since that they belong together.

    To be called before anything is removed that only the database knows to be left over. Raises ForeignBucket, and
    FileNotFoundError if the bucket was never claimed.
    """
    if installation().restored_at:
        return True
    for _ in range(2):  # it may have gone on
        require_own_bucket()
        if not (ahead := steps_ahead()):
            return False
    require_own_bucket()  # the turns of another one, or of none, mean nothing
    if ahead > 0:
        _forget_what_was_kept_since()
    Installation.objects.update(restored_at=Now())
    log.error("restore_noticed", older="database" if ahead > 0 else "bucket")
    return True


def steps_ahead() -> int:
    """How far the bucket is ahead of the database, or behind it if negative; 0 where they are of one time."""
    told = _turn_of_bucket()  # first: the database is never behind what the bucket was told before
    ahead = told - installation().turn
    return 0 if ahead == -1 else ahead  # not written yet


def take_turn() -> None:
    """Go one turn forward, unless something was restored."""
    if is_unconfirmed():
        return
    told, turn = _turn_of_bucket(), installation().turn
    if told == turn:
        Installation.objects.filter(turn=turn).update(turn=turn + 1)
        fault_point("turn_begun")
    while (turn := installation().turn) != told:  # who was held up here must not have the last word
        _tell_bucket(turn)
        told = turn


def confirm() -> None:
    """From here on what the database does not explain is left over. Raises what `is_unconfirmed` does."""
    require_own_bucket()
    turn = max(_turn_of_bucket(), installation().turn) + 1
    _tell_bucket(turn)
    Installation.objects.update(turn=turn, restored_at=None)
    log.info("restore_confirmed")


def _forget_what_was_kept_since() -> None:
    """Uploads of the older database whose images the bucket has: they would end some day, and take those with them.

    Without its row the image is an unknown one, and can be adopted.
    """
    for upload_id in Upload.objects.living().values_list("id", flat=True):
        if image_storage().size_of(description_key(upload_id)) is not None:
            with transaction.atomic():
                Upload.objects.filter(id=upload_id).delete()
                PendingDeletion.objects.filter(id=upload_id).delete()


def _turn_of_bucket() -> int:
    """As the store has it: bytes that were changed on the way are not believed (`fetch`)."""
    with BytesIO() as file:
        try:
            image_storage().fetch(TURN_KEY, file, limit=MAX_DIGITS)
            return int(file.read())
        except FileNotFoundError:
            return 0
        except ValueError:
            return -2  # rubbish: of no turn at all


def _tell_bucket(turn: int) -> None:
    image_storage().keep(
        TURN_KEY, str(turn).encode(), content_type="text/plain", caching="no-cache"
    )
