"""Nine thousand of ten thousand uploads expire at once: nobody waits for it, and their room is given back."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from io import BytesIO
from random import Random
from threading import Event
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, connections, transaction

from media_api import sweeps, uploads
from media_api.exceptions import QuotaExceeded
from media_api.models import Quota, Upload, Usage, database_now
from media_api.storage import ImageStorage
from media_api.uploads import Announcement
from tests.conftest import objects

OWNERS, UNDER_WAY, OVERDUE = 100, 10_000, 9_000
SENT, IN_PARTS = 50, 10  # of those that expire
CLIENTS, EACH = 4, 50  # of the others, what each of the clients completes
LONGEST = "1s"  # that a client may wait for a lock
STATEMENTS = 20  # for a thousand that expire


def under_way(storage: ImageStorage) -> list[Upload]:
    """Ten thousand of a hundred owners, those that are overdue first."""
    owners = User.objects.bulk_create(User(username=str(number)) for number in range(OWNERS))
    now, hour = database_now(), timedelta(hours=1)
    made = [
        Upload(
            owner=owners[number % OWNERS],
            name="cat.jpg",
            size=number % 97 + 1,
            content_type="image/jpeg",
            expires_at=now - hour if number < OVERDUE else now + hour,
        )
        for number in range(UNDER_WAY)
    ]
    for upload in made[:IN_PARTS]:
        upload.part_size = 1
        upload.multipart_id = storage.begin_parts(upload.key, content_type="image/jpeg")
    for upload in [*made[IN_PARTS : IN_PARTS + SENT], *made[OVERDUE : OVERDUE + CLIENTS * EACH]]:
        body = BytesIO(bytes(upload.size))
        storage.stage(upload.key, body, size=upload.size, content_type="image/jpeg")
    return Upload.objects.bulk_create(made, batch_size=1000)


@contextmanager
def own_connection() -> Iterator[None]:
    try:
        yield
    finally:
        connections.close_all()


def sweep() -> tuple[int, int]:
    """How many it ended, with how many statements."""
    statements = 0

    def count(execute: Callable[..., Any], *arguments: Any) -> Any:
        nonlocal statements
        statements += 1
        return execute(*arguments)

    with own_connection(), connection.execute_wrapper(count):
        return sweeps.expire_overdue(), statements


def go_on(mine: list[Upload], over: Event, seed: int) -> int:
    """Announce for any of the owners and complete what is mine, until the sweeps are over; how many were announced.

    Postgres ends a statement that has waited for a lock for too long.
    """
    dice, owners, announced = Random(seed), list(User.objects.all()), 0
    with own_connection():
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = %s", [LONGEST])
        while mine or not over.is_set():
            if mine:
                uploads.complete(mine.pop())
            uploads.announce(dice.choice(owners), Announcement("dog.jpg", 10, "image/jpeg"))
            announced += 1
    return announced


@pytest.fixture
def asked(storage: ImageStorage) -> Iterator[Counter[str]]:
    """What the bucket is asked, and how often."""
    counter = Counter[str]()

    def note(event_name: str, **_: Any) -> None:
        counter[event_name.rpartition(".")[2]] += 1

    storage.client.meta.events.register("before-send.s3", note)
    yield counter
    storage.client.meta.events.unregister("before-send.s3", note)


def test_what_somebody_holds_is_passed_over(alice: User, storage: ImageStorage) -> None:
    """Who completes it, or the other sweep; not to wait is part of it."""
    held, other = (
        uploads.announce(alice, Announcement("cat.jpg", 10, "image/jpeg")) for _ in range(2)
    )
    Upload.objects.update(expires_at=database_now() - timedelta(seconds=1))
    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        Upload.objects.select_for_update().get(id=held.id)
        assert pool.submit(sweep).result(timeout=10)[0] == 1
    assert [upload.id for upload in Upload.objects.filter(state="expired")] == [other.id]


def test_nine_thousand_expire(storage: ImageStorage, asked: Counter[str]) -> None:
    made, over = under_way(storage), Event()
    coming = made[OVERDUE : OVERDUE + CLIENTS * EACH]
    asked.clear()
    with ThreadPoolExecutor(CLIENTS + 2) as pool:
        clients = [
            pool.submit(go_on, coming[number::CLIENTS], over, number) for number in range(CLIENTS)
        ]
        swept = [done.result() for done in [pool.submit(sweep) for _ in range(2)]]
        over.set()
        announced = sum(client.result() for client in clients)

    assert sum(ended for ended, _ in swept) == OVERDUE
    assert sum(statements for _, statements in swept) < STATEMENTS * OVERDUE / 1000
    assert (
        0 < asked["DeleteObjects"] <= OVERDUE / sweeps.BATCH + 2
    )  # two sweeps, each with a last one
    assert asked["AbortMultipartUpload"] == IN_PARTS
    assert storage.open_parts() == []
    assert set(objects(storage)) == {upload.key for upload in coming}
    states = Counter(Upload.objects.values_list("state", flat=True))
    staying = UNDER_WAY - OVERDUE - len(coming) + announced
    assert states == {"expired": OVERDUE, "announced": staying, "staged": len(coming)}
    assert_room_for_one_more(made[0].owner)


def assert_room_for_one_more(owner: User) -> None:
    """And for no byte beyond. (Conftest compares what is used with what is there, for all.)"""
    Quota.objects.create(owner=owner, size=Usage.objects.get(owner=owner).used + 10)
    announce = partial(uploads.announce, owner)
    announce(Announcement("dog.jpg", 10, "image/jpeg"))
    with pytest.raises(QuotaExceeded):
        announce(Announcement("dog.jpg", 1, "image/jpeg"))
