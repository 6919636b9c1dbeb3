"""alice owns, mallory does not. Everything runs on the real Postgres and bucket of `tests/services.py`."""

from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from procrastinate.contrib.django import app as queue
from rest_framework.test import APIClient

from media_api.epoch import claim_bucket
from media_api.models import ApiKey, Image
from media_api.storage import ImageStorage, image_storage
from media_api.uploads import Announcement, receive
from tests import pictures

Work = Callable[[], None]


@pytest.fixture(scope="session", autouse=True)
def _static_files() -> None:
    """The pages' style and scripts, as `make run` collects them."""
    call_command("collectstatic", interactive=False, verbosity=0)


@pytest.fixture(autouse=True)
def _database(transactional_db: None) -> Iterator[None]:
    """Real transactions, since jobs and triggers live by them; the queue's tables are not Django's to flush."""
    yield
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE procrastinate_jobs, procrastinate_periodic_defers CASCADE")


@pytest.fixture(autouse=True)
def _no_bucket_call_in_a_transaction() -> Iterator[None]:
    """I7, in every test: each request to the bucket looks whether a transaction is open on its thread."""

    def look(**_: Any) -> None:
        assert not connection.in_atomic_block, "a bucket call inside a transaction"

    events = image_storage().client.meta.events
    events.register("before-send.s3", look)
    yield
    events.unregister("before-send.s3", look)


@pytest.fixture
def storage() -> ImageStorage:
    """The bucket, claimed, without a single object of an earlier test."""
    bucket = image_storage()
    bucket.remove(list(bucket.keys("")))
    claim_bucket()
    return bucket


@pytest.fixture
def alice() -> User:
    return User.objects.create_user("alice", password="wonderland-7")


@pytest.fixture
def mallory() -> User:
    return User.objects.create_user("mallory", password="wonderland-8")


def client_of(owner: User, *scopes: str) -> APIClient:
    """Speaks as a program does: with an API key."""
    _, text = ApiKey.objects.mint(owner, scopes=scopes or ["read", "write"])
    client = APIClient(raise_request_exception=False)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    return client


@pytest.fixture
def api(alice: User, storage: ImageStorage) -> APIClient:
    return client_of(alice)


@pytest.fixture
def stranger(mallory: User) -> APIClient:
    return client_of(mallory)


@pytest.fixture
def work() -> Work:
    """Run every job that is due, in this process."""

    def run() -> None:
        with queue.replace_connector(queue.connector.get_worker_connector()) as worker:
            worker.run_worker(wait=False, install_signal_handlers=False, listen_notify=False)

    return run


@pytest.fixture
def keep(work: Work) -> Callable[..., Image]:
    """Send a picture of an owner through the app and let the worker keep it."""

    def keep(
        owner: User, body: bytes | None = None, *, name: str = "cat.jpg", tags: tuple[str, ...] = ()
    ) -> Image:
        body = body or pictures.jpeg()
        upload = receive(
            owner,
            BytesIO(body),
            Announcement(name=name, size=len(body), content_type="image/jpeg", tags=tags),
        )
        work()
        return Image.objects.get(id=upload.id)

    return keep
