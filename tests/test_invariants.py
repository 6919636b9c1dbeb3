"""The nine promises of the design, one test each. The details stand in the files of each subject."""

import json
import logging
import random
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from io import StringIO
from typing import Any

import httpx2
import pytest
from django.contrib.auth.models import User
from django.db import connection, connections, transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from procrastinate.contrib.django import app
from pytest_django import Settings
from rest_framework.test import APIClient
from structlog.stdlib import ProcessorFormatter

from media_api import examination, images, sweeps
from media_api.models import (
    ApiKey,
    Image,
    PendingDeletion,
    SignInLink,
    Upload,
    database_now,
    image_prefix,
    staging_key,
)
from media_api.storage import ImageStorage, image_storage
from project.logging import logging_config
from tests import pictures
from tests.conftest import Work, client_of, objects, store_down, stored_on
from tests.sending import (
    API,
    announce,
    complete,
    put,
    read,
    refusal,
    send,
    send_bytes,
    send_directly,
    sha256,
)
from tests.services import Store

Keep = Callable[..., Image]


# --- a bad day ------------------------------------------------------------------------------------


class Killed(BaseException):
    """The process is gone; nothing of ours catches it."""


@contextmanager
def killed_at_random(dice: random.Random) -> Iterator[None]:
    """The worker dies before one of its next calls to the bucket, or at that call the store fails it."""
    left = dice.randint(0, 7)

    def strike(**_: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed

    events = image_storage().client.meta.events
    events.register("before-send.s3", strike)
    try:
        with suppress(Killed):
            yield
    finally:
        events.unregister("before-send.s3", strike)


def with_metadata(*, seed: int) -> bytes:
    return pictures.jpeg(seed=seed, comment="a secret")


class Day:
    """Pictures are sent, killed at, deleted and swept in any order; who was promised one writes it down."""

    def __init__(self, api: APIClient, seed: int) -> None:
        self.api, self.dice = api, random.Random(seed)
        self.sent: dict[str, bytes] = {}
        self.promised: dict[str, bytes] = {}

    def send_one(self) -> None:
        draw = self.dice.choice([pictures.jpeg, pictures.png, with_metadata])
        body = draw(seed=self.dice.randrange(10**6))
        if self.dice.random() < 0.2:
            body = pictures.truncated(body)
        door = self.dice.choice([send, send_bytes, send_directly, self._forget_to_complete])
        self.sent[door(self.api, body).json()["id"]] = body

    @staticmethod
    def _forget_to_complete(api: APIClient, body: bytes) -> Any:
        upload = announce(api, body)
        put(upload.json(), body)
        return upload

    def work(self) -> None:
        for upload in Upload.objects.filter(state=Upload.State.STAGED):
            if self.dice.random() < 0.4:
                with killed_at_random(self.dice):
                    examination.examine(upload.id)
                Upload.objects.filter(id=upload.id).update(attempts=0)
            else:
                examination.examine(upload.id)
        self.look()

    def look(self) -> None:
        for upload_id in self.sent.keys() - self.promised.keys():
            answer = self.api.get(f"{API}/uploads/{upload_id}")
            if answer.status_code == 200 and answer.json()["state"] == "kept":
                self.promised[upload_id] = self.sent[upload_id]

    def delete_some(self) -> None:
        for image_id in self.dice.sample(sorted(self.promised), len(self.promised) // 4):
            self.api.delete(f"{API}/images/{image_id}?permanent=true")
            del self.promised[image_id], self.sent[image_id]

    def withdraw_one(self) -> None:
        waiting = sorted(self.sent.keys() - self.promised.keys())
        if waiting:
            self.api.delete(f"{API}/uploads/{self.dice.choice(waiting)}")
            self.look()

    def sweep(self) -> None:
        with killed_at_random(self.dice):
            sweeps.expire_overdue()
            sweeps.sweep_staging()
            images.purge_due()
        if self.dice.random() < 0.3:
            with store_down(), suppress(Exception):
                sweeps.sweep_staging()

    def go_by(self) -> None:
        for _ in range(25):
            step = self.dice.choices(
                [self.send_one, self.work, self.delete_some, self.withdraw_one, self.sweep],
                weights=[8, 5, 1, 1, 3],
            )[0]
            step()
        self.work()


def two_hours_pass() -> None:
    """Every deadline is over, and the sweeps have run in each of the hours."""
    Upload.objects.filter(state=Upload.State.ANNOUNCED).update(
        expires_at=database_now() - timedelta(seconds=1)
    )
    for _ in range(3):
        sweeps.expire_overdue()
        sweeps.sweep_staging()
        PendingDeletion.objects.update(due_at=database_now() - timedelta(seconds=1))
        images.purge_due()


@pytest.fixture(params=range(2))
def day(request: pytest.FixtureRequest, api: APIClient) -> Day:
    day = Day(api, request.param)
    day.go_by()
    return day


def test_i1_nothing_lost(day: Day) -> None:
    """Every image that a client saw as kept reads back with the same SHA-256 until it is deleted."""
    two_hours_pass()
    assert day.promised
    for image_id, body in day.promised.items():
        image = read(day.api, image_id)
        assert image["sha256"] == sha256(body)
        assert httpx2.get(image["original"]["url"]).content == body
    assert {str(image.id) for image in Image.objects.all()} == set(day.promised)


def test_i2_nothing_dangling(day: Day, storage: ImageStorage) -> None:
    """No row points to a missing object, at no time."""
    for hours in 0, 2:
        if hours:
            two_hours_pass()
        present = set(storage.keys("images/"))
        for image in Image.objects.all():
            assert {image.path, image.stripped_path} <= present
            assert all(image.rendition_key(side) in present for side in image.sides)


def test_i3_nothing_left_over(day: Day, storage: ImageStorage) -> None:
    """Every object is explained by a row, or is gone after the sweeps of two hours."""
    two_hours_pass()
    explained = tuple(image_prefix(image.id) for image in Image.objects.all())
    explained += tuple(staging_key(upload.id) for upload in Upload.objects.living())
    assert [key for key in objects(storage) if not key.startswith(explained)] == []
    assert not PendingDeletion.objects.exists()
    assert storage.open_parts() == []


def test_i4_nothing_swapped(api: APIClient, work: Work, settings: Settings, store: Store) -> None:
    """No URL that was ever handed out can write under `images/`, whatever is changed of it."""
    settings.PART_THRESHOLD, body = 50_000, pictures.jpeg(400, 300)
    with stored_on(store) as storage:
        upload, in_parts = announce(api, body).json(), announce(api, b"x" * 60_000).json()
        put(upload, body)
        complete(api, upload["id"])
        work()
        image = read(api, upload["id"])
        before = {key: storage.read(key) for key in storage.keys("images/")}
        handed_out = [
            (upload["url"], upload["headers"], body),
            (in_parts["parts"][0]["url"], {}, b"x" * 60_000),
            (image["original"]["url"], {}, body),
            (image["renditions"][0]["url"], {}, body),
        ]
        for url, headers, content in handed_out:
            for key in before:
                moved = re.sub(r"(staging|images)/[^?]*", key, url)
                for method in "PUT", "POST", "DELETE":
                    httpx2.request(method, moved, content=content[::-1], headers=headers)
            climbing = url.replace("/staging/", "/staging/../images/")
            httpx2.put(climbing, content=content, headers=headers)
            httpx2.put(url, content=content[::-1], headers=headers)
        assert {key: storage.read(key) for key in storage.keys("images/")} == before
        storage.remove(list(storage.keys("")))


def test_i5_nothing_believed(api: APIClient, work: Work) -> None:
    """Size, type, dimensions and hash are what we computed from the bytes."""
    body = pictures.png(120, 80)
    lies = {"name": "movie.mp4", "content_type": "video/mp4", "width": 1, "frames": 9, "path": "x"}
    for answer in (
        send(api, body, content_type="text/html", width=1, sha256="0" * 64, size=1),
        send_bytes(api, body, content_type="image/svg+xml"),
        send_directly(api, body, **lies),
    ):
        work()
        image = read(api, answer.json()["id"])
        assert (image["content_type"], image["width"], image["height"], image["frames"]) == (
            "image/png",
            120,
            80,
            1,
        )
        assert (image["size"], image["sha256"]) == (len(body), sha256(body))
        assert image["path"] == f"images/{image['id']}/original.png"
    wrong = send_directly(api, body, sha256="0" * 64).json()["id"]
    work()
    assert not Image.objects.filter(id=wrong).exists()


def patterns(resolver: URLResolver, prefix: str = "") -> Iterator[str]:
    for entry in resolver.url_patterns:
        address = prefix + str(entry.pattern)
        if isinstance(entry, URLPattern):
            yield address
        else:
            yield from patterns(entry, address)


def test_i6_nobody_elses(
    api: APIClient, alice: User, mallory: User, stranger: APIClient, keep: Keep
) -> None:
    """What is not yours does not exist: no address with an id in it answers a stranger anything but 404."""
    image, trashed = keep(alice), keep(alice)
    images.trash(Image.objects.filter(id=trashed.id))
    upload = announce(api, pictures.jpeg()).json()["id"]
    key, _ = ApiKey.objects.mint(alice, scopes=["read"])
    before = [list(model.objects.order_by("pk").values()) for model in (Image, Upload)]
    page = Client()
    page.force_login(mallory)
    asked = 0
    labels = {"data": {"numbers": [1], "name": "x"}, "content_type": "application/json"}
    body = {"post": labels, "patch": labels}
    for address in patterns(get_resolver()):
        if address.startswith("admin/") or not re.search("image_id|upload_id|key_id", address):
            continue
        for image_id in image.id, trashed.id:
            path = "/" + re.sub(r"<\w+:image_id>", str(image_id), address)
            path = re.sub(r"<\w+:upload_id>", str(upload), path)
            path = re.sub(r"<\w+:key_id>", str(key.id), path)
            path = re.sub(r"<\w+:\w+>", "320", path)
            for method in "get", "post", "patch", "put", "delete":
                answer = getattr(page, method)(path, **body.get(method, {}))
                assert answer.status_code in (404, 405), (method, path, answer.status_code)
                asked += answer.status_code == 404
    assert asked > 20
    for action in "delete", "restore", "tags", "links":
        ids = {"ids": [str(image.id), str(trashed.id)], "add": ["evil"]}
        results = stranger.post(f"{API}/images/{action}", ids, format="json").json()["results"]
        assert [(row["status"], row["code"]) for row in results] == [(404, "not_found")] * 2
    for listed in "images", "images/trash", "uploads":
        assert stranger.get(f"{API}/{listed}").json()["results"] == []
    ApiKey.objects.get(id=key.id)
    assert before == [list(model.objects.order_by("pk").values()) for model in (Image, Upload)]


NO_NETWORK = """
import socket
def refuse(*_): raise AssertionError("a connection at import")
socket.socket.connect = refuse
import django, importlib, pkgutil
django.setup()
import media_api, project, web
for package in (media_api, project, web):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if "migrations" not in module.name:
            importlib.import_module(module.name)
from django.core.checks import run_checks
run_checks()
from media_api.models import Image, Upload, uuid7
image = Image(id=uuid7(), sides=[320], width=1, height=1, path="x", name="x")
for kind in (Image, Upload):
    for name, value in vars(kind).items():
        if isinstance(value, property):
            getattr(kind(id=image.id, sides=[320]) if kind is Image else kind(size=1), name)
"""


def test_i7_no_bucket_call_inside_a_transaction(
    api: APIClient, alice: User, keep: Keep, storage: ImageStorage
) -> None:
    """Every test looks at each call to the bucket (conftest). Here: that look sees; imports and checks ask nobody."""
    with pytest.raises(AssertionError, match="inside a transaction"), transaction.atomic():
        storage.size_of("images/x")
    done = subprocess.run([sys.executable, "-c", NO_NETWORK], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def lines() -> Iterator[Callable[[], list[str]]]:
    """What is written to the log, by the formatter of production, down to DEBUG."""
    formatter = logging_config("DEBUG", "json")["formatters"]["structured"]
    text = StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(
        ProcessorFormatter(**{name: value for name, value in formatter.items() if name != "()"})
    )
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield lambda: text.getvalue().splitlines()
    root.removeHandler(handler)
    root.setLevel(level)


def test_i8_no_secret_and_no_signature(
    alice: User,
    storage: ImageStorage,
    work: Work,
    settings: Settings,
    lines: Callable[[], list[str]],
) -> None:
    """Nowhere: not in a log line, not in an error body. Sent through everything that knows one."""
    _, text = ApiKey.objects.mint(alice, scopes=["read", "write"])
    token = SignInLink.objects.mint(alice)
    api, page = APIClient(raise_request_exception=False), Client(raise_request_exception=False)
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    page.get(f"/login/{token}/")
    page.post(f"/login/{token}/")
    session = page.cookies["sessionid"].value
    signed: list[str] = []
    bodies: list[Any] = []

    body = pictures.jpeg()
    upload = announce(api, body).json()
    put(upload, body)
    complete(api, upload["id"])
    work()
    image = read(api, upload["id"])
    signed += [upload["url"], image["original"]["url"], image["renditions"][0]["url"]]
    for address in (
        f"{API}/nowhere?url={signed[0]}",
        f"{API}/images?cursor={text}",
        f"{API}/images/{text}",
        f"{API}/images/{image['id']}/content",
    ):
        bodies.append(api.get(address))
        page.get(address)
    page.get(f"/nowhere/?next=/login/{token}/", HTTP_REFERER=signed[1])
    with store_down():
        bodies.append(send(api, body))
        work()

    def broken(execute: Any, sql: str, params: Any, *rest: Any) -> Any:
        raise ZeroDivisionError(f"{text} /login/{token}/ {signed[0]} {sql}")

    with connection.execute_wrapper(broken):
        bodies.append(api.get(f"{API}/images"))
        bodies.append(page.get("/"))
    logging.getLogger("a.library").error("it met %s and %s", signed[1], text)

    secrets = {
        "signature": re.compile("X-Amz-Signature=[0-9a-f]"),
        "key": re.compile(re.escape(text.split("_", 2)[2])),
        "token": re.compile(re.escape(token)),
        "session": re.compile(re.escape(session)),
        "store": re.compile(re.escape(settings.S3_SECRET_ACCESS_KEY)),
        "signing": re.compile(re.escape(settings.SECRET_KEY)),
    }
    assert len(lines()) > 20
    for name, secret in secrets.items():
        assert not [line for line in lines() if secret.search(line)], name
        for answer in bodies:
            if answer.status_code >= 400:
                assert not secret.search(answer.content.decode()), (name, answer.content)


def test_i9_one_upload_one_image(
    api: APIClient, alice: User, work: Work, storage: ImageStorage
) -> None:
    """Retries, double `complete` calls and two workers on one job end in one row and one set of objects."""
    body = pictures.jpeg(700, 500)
    upload = announce(api, body).json()
    put(upload, body)
    together = threading.Barrier(6)

    def in_thread(act: Callable[[], Any]) -> Any:
        together.wait()
        try:
            return act()
        finally:
            connections.close_all()

    def completing() -> int:
        status: int = complete(client_of(alice), upload["id"]).status_code
        return status

    def working() -> None:
        for _ in range(50):
            examination.examine(Upload(id=upload["id"]).id)

    with ThreadPoolExecutor(6) as pool:
        clients = [pool.submit(in_thread, completing) for _ in range(4)]
        workers = [pool.submit(in_thread, working) for _ in range(2)]
    assert {client.result() for client in clients} <= {200, 201, 202}
    for worker in workers:
        worker.result()
    work()
    assert complete(api, upload["id"]).status_code == 200
    assert Image.objects.get().sha256 == sha256(body)
    assert not Upload.objects.exists()
    assert sorted(objects(storage)) == [
        f"images/{upload['id']}/{name}"
        for name in ("320.webp", "640.webp", "image.json", "original.jpg")
    ]
    assert json.loads(storage.read(f"images/{upload['id']}/image.json"))["sha256"] == sha256(body)
    assert refusal(api.delete(f"{API}/uploads/{upload['id']}")) == (409, "already_kept")
    app.configure_task("examine").defer(upload_id=upload["id"])
    work()
    assert Image.objects.count() == 1
