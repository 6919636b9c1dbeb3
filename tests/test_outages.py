"""What may fail below the service fails, and nothing is lost: the bucket, the database, a disk."""

import time
from collections.abc import Callable, Iterator

import httpx2
import pytest
from botocore.config import Config
from rest_framework.test import APIClient

from media_api import examination, sweeps
from media_api.exceptions import StorageUnavailable
from media_api.models import Image, Upload
from media_api.storage import CLIENT_CONFIG, ImageStorage
from tests import faulty as faults
from tests import pictures
from tests.conftest import Work, objects, stored_on
from tests.faulty import Exchange, Fault, Faulty
from tests.sending import API, Answer, announce, complete, put, read, refusal, send
from tests.services import Store
from tests.serving import wait_until

QUICK = 0.5  # seconds: what does not need the bucket
PATIENCE = Config(read_timeout=2.5)  # seconds, of a client that else waits for ten


@pytest.fixture
def faulty(storage: ImageStorage, rclone: Store) -> Iterator[Faulty]:
    """The app's way to its bucket."""
    proxy = Faulty(rclone)
    with stored_on(proxy.seen) as bucket:
        bucket.client_config = CLIENT_CONFIG.merge(PATIENCE)
        yield proxy
    proxy.close()


# --- the bucket -----------------------------------------------------------------------------------

OUTAGES = [
    faults.refused,
    faults.reset,
    faults.slow_down,
    faults.black_hole,
    faults.answer_lost,
    faults.full,
    faults.captured,
    faults.without_bucket,
    faults.emptied,
    faults.somebody_else,
]
WRONG_DOWN = [faults.cut_short, faults.shortened, faults.flipped]
WRONG_UP = [faults.reset, faults.slow_down, faults.answer_lost, faults.full, faults.captured]


def name(fault: Fault) -> str:
    return fault.__name__


@pytest.mark.parametrize("fault", [*OUTAGES, *WRONG_DOWN], ids=name)
def test_a_fault_of_the_bucket_costs_time_and_nothing_else(
    api: APIClient, faulty: Faulty, storage: ImageStorage, work: Work, fault: Fault
) -> None:
    body = pictures.jpeg(64, 48)
    staged = send(api, body).json()["id"]
    announced = announce(api, body).json()
    put(announced, body)
    with faulty.failing(fault):
        work()
        assert waits(staged)
        sent = send(api, body)
        completed = complete(api, announced["id"])
        assert_up_without_the_bucket(api)
    assert sent.status_code == 202 or refusal(sent) == (503, "storage_unavailable")
    assert sent.status_code == 202 or sent.headers["Retry-After"]
    assert completed.status_code in (202, 409, 503)

    accepted = {staged, announced["id"], *([sent.json()["id"]] if sent.status_code == 202 else [])}
    complete(api, announced["id"])
    wait_until_kept(accepted, work)
    for image_id in accepted:
        assert httpx2.get(read(api, image_id)["original"]["url"]).content == body
    sweeps.sweep_staging()
    assert {key.split("/")[1] for key in objects(storage)} == accepted


@pytest.mark.parametrize("fault", [*WRONG_UP, faults.flipped_on_the_way_up], ids=name)
def test_what_is_kept_is_what_was_examined_or_nothing_yet(
    api: APIClient, faulty: Faulty, work: Work, fault: Fault
) -> None:
    """The bytes come down and are read; what is written in their place fails, more often than a decoder may."""
    body = pictures.jpeg(64, 48)
    staged = send(api, body).json()["id"]
    with faulty.failing(fault, writing):
        for _ in range(2 * examination.MAX_ATTEMPTS):
            with pytest.raises(StorageUnavailable):
                examination.examine(staged)
        assert waits(staged)
        assert refusal(send(api, body)) == (503, "storage_unavailable")
    wait_until_kept({staged}, work)
    assert httpx2.get(read(api, staged)["original"]["url"]).content == body


def writing(exchange: Exchange) -> bool:
    return exchange.command == "PUT"


def reading(exchange: Exchange) -> bool:
    return exchange.command in ("GET", "HEAD")


@pytest.mark.parametrize("fault", [faults.late, faults.slow], ids=name)
def test_a_slow_bucket_is_waited_for(
    api: APIClient, faulty: Faulty, work: Work, fault: Fault
) -> None:
    body = pictures.jpeg(640, 480)
    staged = send(api, body).json()["id"]
    with faulty.failing(fault, reading):
        work()
        assert_up_without_the_bucket(api)
    assert httpx2.get(read(api, staged)["original"]["url"]).content == body


def waits(upload_id: str) -> bool:
    """It is staged, and nothing counts against it."""
    upload = Upload.objects.get(id=upload_id)
    return (upload.state, upload.attempts) == ("staged", 0)


def wait_until_kept(ids: set[str], work: Work) -> None:
    """As a worker would that goes on."""

    def kept() -> bool:
        work()
        return Image.objects.filter(id__in=ids).count() == len(ids)

    wait_until(kept, seconds=30)


def assert_up_without_the_bucket(api: APIClient) -> None:
    """Readiness names the bucket in time, and what does not need it takes no longer than ever."""
    began = time.monotonic()
    ready = api.get("/readyz")
    assert time.monotonic() - began < 5
    assert (ready.status_code, set(ready.json())) == (200, {"status", "database", "bucket"})
    times = [timed(lambda: api.get(f"{API}/images")) for _ in range(20)]
    assert sorted(times)[18] < QUICK


def timed(ask: Callable[[], Answer]) -> float:
    began = time.monotonic()
    assert ask().status_code == 200
    return time.monotonic() - began
