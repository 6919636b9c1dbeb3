"""alice owns, mallory does not. Everything runs on the real Postgres and bucket of `tests/services.py`."""

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.contenttypes.management import create_contenttypes
from django.core.management import call_command
from django.db import connection, connections
from django.db.models.signals import post_migrate
from django.test import Client, override_settings
from django.test.client import ClientHandler
from procrastinate.connector import BaseAsyncConnector
from procrastinate.contrib.django import app as queue
from procrastinate.contrib.django import procrastinate_app
from procrastinate.contrib.django.django_connector import DjangoConnector
from procrastinate.periodic import PeriodicRegistry
from rest_framework.test import APIClient

from media_api.epoch import claim_bucket
from media_api.fsck import WRONG_TAGS, WRONG_USAGE
from media_api.models import ApiKey, Image
from media_api.storage import META, ImageStorage, image_storage
from media_api.uploads import Announcement, receive
from project.embedded import Child
from project.embedded.addresses import free_port, url
from tests import pictures
from tests.listening import is_sign_in, listening, refusals, secrets_in
from tests.services import FOLDER, HOST, Store

Work = Callable[[], None]
Serve = Callable[..., str]


@pytest.fixture(scope="session", autouse=True)
def _quick_passwords() -> Iterator[None]:
    """Passwords are hashed slowly on purpose; here nobody tries to guess them."""
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"]):
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_secret_is_told(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """I8 over the whole run: no line of a log, and no refusal, has a secret."""
    log = pytestconfig.stash[FOLDER] / "service.log"
    with listening(log):
        yield
    logs = [*log.parent.glob("*.log"), *tmp_path_factory.getbasetemp().rglob("*.output")]
    assert log in logs
    lines = (line for log in logs for line in log.read_text(errors="replace").splitlines())
    assert [line for line in lines if secrets_in(line) and not is_sign_in(line)] == []
    assert [found for refusal in refusals() for found in secrets_in(refusal)] == []


@pytest.fixture(scope="session", autouse=True)
def _static_files() -> None:
    """The pages' style and scripts, as `make` collects them, unless it has."""
    collected = Path(settings.STATIC_ROOT, "staticfiles.json")
    changed = max(file.stat().st_mtime for file in Path("web/static").rglob("*"))
    if not collected.exists() or collected.stat().st_mtime < changed:
        call_command("collectstatic", interactive=False, verbosity=0)


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    """The whole server is thrown away at the end. Other threads may still be connected to this one database of it."""
    return True


@pytest.fixture(scope="session", autouse=True)
def _quick_flushes(django_db_setup: None) -> None:
    """After each flush Django would write its permissions and content types anew, which no test looks at."""
    post_migrate.disconnect(dispatch_uid="django.contrib.auth.management.create_permissions")
    post_migrate.disconnect(create_contenttypes)


@pytest.fixture(scope="session", autouse=True)
def _last_words() -> Iterator[None]:
    """Threads that live on after the last test find no log to write to."""
    yield
    logging.raiseExceptions = False


@pytest.fixture(autouse=True)
def _database(transactional_db: None) -> Iterator[None]:
    """Real transactions, since jobs and triggers live by them; the queue's tables are not Django's to flush."""
    yield
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE procrastinate_jobs, procrastinate_periodic_defers CASCADE")


@pytest.fixture(autouse=True)
def _what_triggers_write_is_what_is_there(_database: None) -> Iterator[None]:
    """After every test: what each owner uses is the sum of what there is, and each tag has its row."""
    yield
    with connection.cursor() as cursor:
        for wrong in WRONG_USAGE, WRONG_TAGS:
            cursor.execute(wrong)
            assert cursor.fetchall() == []


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
    bucket = emptied(image_storage())
    claim_bucket()
    return bucket


@pytest.fixture
def bucket(store: Store) -> Iterator[ImageStorage]:
    """Each store in turn, empty and claimed; the whole of the app works on it."""
    with stored_on(store) as storage:
        emptied(storage)
        claim_bucket()
        yield storage
        emptied(storage)


def emptied(bucket: ImageStorage) -> ImageStorage:
    """Without objects, and without parts that are still being sent."""
    bucket.remove(list(bucket.keys("")))
    for key, multipart_id in bucket.open_parts():
        bucket.abort_parts(key, multipart_id)
    return bucket


def storage_options(store: Store) -> dict[str, Any]:
    """The settings of our storage on this store."""
    return {
        "endpoint_url": store.endpoint_url,
        "public_endpoint_url": store.endpoint_url,
        "region_name": "us-east-1",
        "bucket_name": store.bucket_name,
        "access_key": store.credentials[0],
        "secret_key": store.credentials[1],
        "upload_credentials": store.upload_credentials,
        "link_window": settings.LINK_WINDOW,
    }


@contextmanager
def stored_on(store: Store, **options: Any) -> Iterator[ImageStorage]:
    """The whole of the app works on another store."""
    chosen = {**storage_options(store), **options}
    default = {"BACKEND": "media_api.storage.ImageStorage", "OPTIONS": chosen}
    with override_settings(STORAGES={**settings.STORAGES, "default": default}):
        yield image_storage()


@contextmanager
def store_down() -> Iterator[None]:
    """Nothing answers where the bucket should be."""
    nowhere = url(HOST, free_port(HOST))
    with stored_on(Store(nowhere, ("nobody", "nothing"), ("nobody", "nothing"))):
        yield


def objects(storage: ImageStorage) -> list[str]:
    """The keys of everything in the bucket but the marks of its owner."""
    return [key for key in storage.keys("") if not key.startswith(META)]


@pytest.fixture
def alice() -> User:
    return User.objects.create_user("alice", password="wonderland-7")


@pytest.fixture
def mallory() -> User:
    return User.objects.create_user("mallory", password="wonderland-8")


HANDLER = ClientHandler(enforce_csrf_checks=False)


@pytest.fixture(scope="session", autouse=True)
def _one_handler(_no_secret_is_told: None) -> None:
    """All clients share it: each of their own would read every static file."""
    HANDLER.load_middleware()


def client_of(owner: User, *scopes: str) -> APIClient:
    """Speaks as a program does: with an API key."""
    _, text = ApiKey.objects.mint(owner, scopes=scopes or ["read", "write"])
    client = APIClient(raise_request_exception=False)
    client.handler = HANDLER
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    return client


def visitor(**headers: str) -> Client:
    """A browser, or whatever sends these headers."""
    client = Client(raise_request_exception=False, headers=headers)
    client.handler = HANDLER
    return client


@pytest.fixture
def api(alice: User, storage: ImageStorage) -> APIClient:
    return client_of(alice)


@pytest.fixture
def stranger(mallory: User) -> APIClient:
    return client_of(mallory)


@pytest.fixture
def clock_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a worker would do by the clock is done when a test says so."""
    procrastinate_app.current_app.perform_import_paths()  # type: ignore[no-untyped-call] # else later
    monkeypatch.setattr(procrastinate_app.current_app, "periodic_registry", PeriodicRegistry())  # type: ignore[no-untyped-call]


@pytest.fixture
def work(clock_stands_still: None) -> Work:
    """Run every job that is due, in this process."""

    def run() -> None:
        with queue.replace_connector(worker_connector()) as worker:
            worker.run_worker(
                wait=False,
                install_signal_handlers=False,
                listen_notify=False,
                task_middleware=[closing_connections],
            )

    return run


def worker_connector() -> BaseAsyncConnector:
    return cast(DjangoConnector, queue.connector).get_worker_connector()


def closing_connections(do: Callable[[], Any], *_: Any) -> Any:
    """Jobs run in threads of their own; in a test nobody else closes what those opened."""
    try:
        return do()
    finally:
        connections.close_all()


@pytest.fixture
def worker() -> Iterator[None]:
    """A worker beside the test, as one runs beside the web."""
    loop = asyncio.new_event_loop()
    beside = queue.with_connector(worker_connector())

    async def run() -> None:
        async with beside.open_async():
            await beside.run_worker_async(
                install_signal_handlers=False, task_middleware=[closing_connections]
            )

    task = loop.create_task(run())

    def live() -> None:
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(task)

    thread = threading.Thread(target=live, name="worker")
    thread.start()
    yield
    loop.call_soon_threadsafe(task.cancel)
    thread.join()
    loop.close()


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


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start the web server as in a container, on the database of the tests; its address. Its log is `tmp_path/log`."""
    servers: list[Child] = []

    def start(**variables: str) -> str:
        port = free_port(HOST)
        where = {"DATABASE_URL": database_of_the_test(), "HOST": HOST, "PORT": str(port)}
        server = Child(
            "The web server",
            [sys.executable, "manage.py", "granian"],
            environment={**os.environ, **where, "WEB_WORKERS": "1", **variables},
            log=tmp_path / "log",
        )
        servers.append(server)
        server.start()
        server.wait_until(lambda: answers(url(HOST, port)))
        return url(HOST, port)

    yield start
    for server in servers:
        server.stop()


def answers(address: str) -> bool:
    try:
        return httpx2.get(f"{address}/livez").is_success
    except httpx2.TransportError:
        return False


def database_of_the_test() -> str:
    name = connection.settings_dict["NAME"]
    return os.environ["DATABASE_URL"].replace("/postgres?", f"/{name}?")
