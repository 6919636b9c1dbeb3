"""What things cost, in numbers that do not wobble: statements, calls to the bucket, steps of the signer, bytes.

One that grows is a decision, and belongs into docs/performance.md with its reason. None that is smaller hurts.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from media_api import images
from media_api.models import Image, PendingDeletion
from media_api.presign import Bucket, Credentials, Signer
from media_api.storage import ImageStorage, image_storage
from tests import pictures
from tests.conftest import Work
from tests.sending import API, announce, complete, put, send
from tests.test_lists import image

Keep = Callable[..., Image]
MANY = 50
STEPS = 14  # of one among many; of one alone 20


@contextmanager
def bucket_calls() -> Iterator[Counter[str]]:
    """How often the bucket is asked for what, from whatever thread."""
    calls: Counter[str] = Counter()

    def count(event_name: str, **_: Any) -> None:
        calls[event_name.rpartition(".")[2]] += 1

    events = image_storage().client.meta.events
    events.register("before-call.s3", count)
    yield calls
    events.unregister("before-call.s3", count)


def statements(do: Callable[[], object]) -> int:
    """BEGIN and COMMIT are among them."""
    with CaptureQueriesContext(connection) as seen:
        do()
    return len(seen)


@pytest.fixture
def many(alice: User) -> list[Image]:
    return [
        image(alice, name=f"{number}.jpg", tags=["cat"], sides=[320, 640, 1280, 2560])
        for number in range(MANY)
    ]


@pytest.mark.parametrize(
    ("path", "cost"),
    [
        ("images?limit=50", 3),  # the key, the throttle, the rows
        ("images?limit=1&q=cat&type=jpeg&tag=cat", 3),
        ("images/trash", 3),
        ("images/{id}", 3),  # the key, the row, its duplicates
        ("images/{id}/content?side=320", 3),
        ("uploads", 3),
        ("keys", 2),
    ],
)
def test_reading_costs_few_statements_and_no_call_to_the_bucket(
    api: APIClient, many: list[Image], path: str, cost: int
) -> None:
    address = f"{API}/{path.format(id=many[0].id)}"
    api.get(address)  # the use of a key is noted once a minute
    with bucket_calls() as calls:
        assert statements(partial(api.get, address)) == cost
    assert calls == {}


def test_an_image_that_is_known_costs_two_statements(api: APIClient, many: list[Image]) -> None:
    address = f"{API}/images/{many[0].id}"
    etag = api.get(address)["ETag"]
    assert statements(partial(api.get, address, HTTP_IF_NONE_MATCH=etag)) == 2


def test_an_upload_costs_few_statements(api: APIClient) -> None:
    body = pictures.jpeg()
    announced = announce(api, body).json()
    put(announced, body)
    ways = [
        (6, partial(announce, api, body)),
        (6, partial(complete, api, announced["id"])),
        (11, partial(send, api, body)),
    ]
    for cost, way in ways:
        assert statements(way) == cost


@pytest.mark.usefixtures("clock_stands_still")
def test_an_image_costs_few_calls_to_the_bucket(
    api: APIClient, alice: User, work: Work, storage: ImageStorage
) -> None:
    with bucket_calls() as calls:
        send(api, pictures.jpeg(1000, 700))
    assert calls == {"PutObject": 1}
    with bucket_calls() as calls:
        work()
    # The original, two renditions, the description; a look whether they are there; what was staged is removed.
    assert calls == {"GetObject": 1, "PutObject": 4, "HeadObject": 1, "DeleteObjects": 1}
    with bucket_calls() as calls:
        images.trash(Image.objects.all())
        images.restore(Image.objects.all())
    assert calls == {}
    images.delete(Image.objects.all())
    with bucket_calls() as calls:
        images.purge(PendingDeletion.objects.values_list("id", flat=True))
    assert calls["DeleteObjects"] == 1
    assert calls["ListObjectsV2"] == 0


def steps(do: Callable[[], object]) -> int:
    """Calls, of our functions and the interpreter's, are what time follows, and are the same everywhere."""
    seen = 0

    def count_call(_frame: FrameType, event: str, _arg: Any) -> None:
        nonlocal seen
        seen += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count_call)
    try:
        do()
    finally:
        sys.setprofile(before)
    return seen


def test_a_link_costs_few_steps(storage: ImageStorage) -> None:
    keys = [f"images/{number}/320.webp" for number in range(101)]
    links = partial(storage.links, content_type="image/webp", start=storage.window_start(keys[0]))
    links(keys)  # what all have in common is put together once a day
    more = steps(partial(links, keys)) - steps(partial(links, keys[:1]))
    assert more / 100 <= STEPS


def test_after_midnight_a_link_costs_the_same() -> None:
    """Some were signed for a window that began the day before."""
    bucket, credentials = (
        Bucket("http://127.0.0.1:9000", "shoebox", "us-east-1"),
        Credentials("a", "b"),
    )
    signer = Signer("GET", bucket=bucket, credentials=credentials, expires=7200)
    midnight = 86_400 * 20_000
    for at in (midnight - 1, midnight):
        signer.url("images/1/320.webp", at=at)
    for at in (midnight - 1, midnight):
        assert steps(partial(signer.url, "images/1/320.webp", at=at)) <= 20


def test_pages_are_small(api: APIClient, client: Client, alice: User, many: list[Image]) -> None:
    listed = api.get(f"{API}/images?limit={MANY}").content
    client.force_login(alice)
    gallery = client.get("/").content
    assert len(listed) / MANY < 3300  # five links of 500 bytes
    assert len(gallery) / MANY < 2500
