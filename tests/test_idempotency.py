"""`Idempotency-Key`: a request that is repeated makes one upload, whatever became of the first, whoever was killed."""

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from botocore.exceptions import EndpointConnectionError
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection, connections
from django.test import Client
from procrastinate.contrib.django.models import ProcrastinateJob
from pytest_django import Settings
from rest_framework.test import APIClient

from media_api import images, sweeps
from media_api.models import (
    ApiKey,
    IdempotencyKey,
    Image,
    PendingDeletion,
    Quota,
    Upload,
    database_now,
)
from media_api.storage import ImageStorage, image_storage
from tests import pictures
from tests.conftest import Work, client_of, objects, store_down
from tests.mortal import POINTS
from tests.sending import (
    API,
    Answer,
    announce,
    complete,
    path_of,
    post_bytes,
    put,
    read,
    refusal,
    send,
    sha256,
)
from tests.services import HOST

Do = Callable[[], Any]
Door = Callable[..., Answer]

BODY = pictures.jpeg(400, 300)
OTHER_BODY = pictures.jpeg(400, 300, seed=1)


def through_the_app(
    api: APIClient, key: str = "k", *, body: bytes = BODY, wait: float = 0, **fields: Any
) -> Answer:
    form = {"file": SimpleUploadedFile("cat.jpg", body, "image/jpeg"), **fields}
    return api.post(f"{API}/images?wait={wait}", form, format="multipart", HTTP_IDEMPOTENCY_KEY=key)


def as_bytes(api: APIClient, key: str = "k", *, body: bytes = BODY, **fields: Any) -> Answer:
    query = "".join(f"&{name}={value}" for name, value in {"name": "cat.jpg", **fields}.items())
    return post_bytes(
        api,
        f"{API}/images?wait=0{query}",
        body,
        content_type="image/jpeg",
        HTTP_IDEMPOTENCY_KEY=key,
    )


def directly(api: APIClient, key: str = "k", *, body: bytes = BODY, **changes: Any) -> Answer:
    announcement = {"name": "cat.jpg", "size": len(body), "content_type": "image/jpeg", **changes}
    return api.post(f"{API}/uploads", announcement, format="json", HTTP_IDEMPOTENCY_KEY=key)


EACH_DOOR = pytest.mark.parametrize("door", [through_the_app, as_bytes, directly])


def stage(door: Door, api: APIClient, **fields: Any) -> str:
    """A request with the key `k`, and what a client of this door does afterwards: the upload's id."""
    upload = door(api, **fields).json()
    if upload["state"] == "announced":
        assert put(upload, fields.get("body", BODY)).status_code == 200
        complete(api, upload["id"])
    upload_id: str = upload["id"]
    return upload_id


def send_parts(api: APIClient, upload: dict[str, Any]) -> None:
    for part in upload["parts"]:
        at = upload["part_size"] * (part["number"] - 1)
        assert put(part, BODY[at : at + upload["part_size"]]).status_code == 200
    assert complete(api, upload["id"]).status_code == 202


def the_lease_is_over() -> None:
    past = database_now() - timedelta(seconds=1)
    IdempotencyKey.objects.filter(leased_until__isnull=False).update(leased_until=past)


def a_day_passes() -> None:
    IdempotencyKey.objects.update(expires_at=database_now() - timedelta(seconds=1))
    sweeps.forget_idempotency_keys()


def two_hours_pass() -> None:
    for _ in range(3):
        sweeps.expire_overdue()
        sweeps.sweep_staging()
        PendingDeletion.objects.update(due_at=database_now() - timedelta(seconds=1))
        images.purge_due()


def keys_of(image_id: str) -> list[str]:
    return [f"images/{image_id}/{name}" for name in ("320.webp", "image.json", "original.jpg")]


# --- what a repeat is told ------------------------------------------------------------------------


@EACH_DOOR
def test_a_repeat_finds_the_upload_of_the_first(
    door: Door, api: APIClient, storage: ImageStorage
) -> None:
    first, again = door(api), door(api)
    assert first.status_code == again.status_code == (201 if door is directly else 202)
    assert first.json()["id"] == again.json()["id"]
    assert first["Location"] == again["Location"]
    assert Upload.objects.count() == 1


@EACH_DOOR
def test_while_it_is_examined_a_repeat_says_so(
    door: Door, api: APIClient, storage: ImageStorage
) -> None:
    upload_id = stage(door, api)
    again = door(api).json()
    assert (again["id"], again["state"]) == (upload_id, "staged")
    assert "url" not in again
    assert ProcrastinateJob.objects.filter(task_name="examine").count() == 1


@EACH_DOOR
def test_once_it_is_kept_a_repeat_gets_the_image(door: Door, api: APIClient, work: Work) -> None:
    upload_id = stage(door, api)
    work()
    read(api, upload_id)
    api.patch(f"{API}/images/{upload_id}", {"name": "Tom"}, format="json")
    again = door(api)
    assert again.status_code == 201
    assert again.json()["id"] == upload_id
    image = again.json()["image"] if door is directly else again.json()
    assert (image["name"], image["sha256"]) == ("Tom", sha256(BODY))
    assert httpx2.get(image["original"]["url"]).content == BODY
    assert api.get(path_of(again["Location"])).json()["id"] == upload_id
    assert (Image.objects.count(), Upload.objects.count()) == (1, 0)


@EACH_DOOR
def test_of_an_image_in_the_trash_a_repeat_says_so(door: Door, api: APIClient, work: Work) -> None:
    upload_id = stage(door, api)
    work()
    api.delete(f"{API}/images/{upload_id}")
    again = door(api).json()
    assert (again["image"] if door is directly else again)["trashed_at"]


@EACH_DOOR
def test_what_was_deleted_does_not_come_back(door: Door, api: APIClient, work: Work) -> None:
    upload_id = stage(door, api)
    work()
    api.delete(f"{API}/images/{upload_id}?permanent=true")
    assert refusal(door(api)) == (410, "gone")
    assert not Upload.objects.exists()
    assert door(api, "another").status_code in (201, 202)


@EACH_DOOR
def test_what_was_withdrawn_does_not_come_back(
    door: Door, api: APIClient, storage: ImageStorage
) -> None:
    api.delete(f"{API}/uploads/{door(api).json()['id']}")
    assert refusal(door(api)) == (410, "gone")


@EACH_DOOR
def test_a_verdict_stays_the_same(door: Door, api: APIClient, work: Work) -> None:
    stage(door, api, body=b"no picture")
    work()
    assert refusal(door(api, body=b"no picture")) == (422, "not_an_image")
    assert Upload.objects.count() == 1


@EACH_DOOR
def test_what_has_expired_stays_so(door: Door, api: APIClient, storage: ImageStorage) -> None:
    door(api)
    past = database_now() - timedelta(seconds=1)
    Upload.objects.update(state=Upload.State.ANNOUNCED, expires_at=past)
    the_lease_is_over()
    sweeps.expire_overdue()
    assert refusal(door(api)) == (410, "upload_expired")


def test_a_repeated_announcement_has_fresh_addresses(api: APIClient, work: Work) -> None:
    old, new = directly(api).json(), directly(api).json()
    assert (new["id"], new["method"]) == (old["id"], "PUT")
    assert put(new, BODY).status_code == 200
    complete(api, new["id"])
    work()
    assert read(api, old["id"])["sha256"] == sha256(BODY)


def test_who_waits_gets_the_image_again(
    api: APIClient, storage: ImageStorage, worker: None
) -> None:
    first, again = (through_the_app(api, wait=20) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert (first.json(), first["ETag"]) == (again.json(), again["ETag"])


def test_after_a_day_a_key_is_new(api: APIClient, storage: ImageStorage) -> None:
    first = through_the_app(api).json()["id"]
    sweeps.forget_idempotency_keys()
    assert through_the_app(api).json()["id"] == first
    a_day_passes()
    assert through_the_app(api).json()["id"] != first


def test_with_the_owner_the_keys_go(api: APIClient, alice: User) -> None:
    directly(api)
    alice.delete()
    assert not IdempotencyKey.objects.exists()


# --- what a key is bound to -----------------------------------------------------------------------


@EACH_DOOR
def test_another_upload_needs_another_key(
    door: Door, api: APIClient, storage: ImageStorage
) -> None:
    door(api)
    changes: list[dict[str, Any]] = [{"name": "dog.jpg"}, {"tags": ["b"]}, {"body": OTHER_BODY}]
    for change in changes:
        assert refusal(door(api, **change)) == (422, "idempotency_conflict"), change
    assert Upload.objects.count() == 1


def test_another_hash_is_another_announcement(api: APIClient) -> None:
    directly(api, sha256=sha256(BODY))
    assert directly(api, sha256=sha256(BODY)).status_code == 201
    assert refusal(directly(api, sha256="0" * 64)) == (422, "idempotency_conflict")
    assert refusal(directly(api)) == (422, "idempotency_conflict")


def test_a_form_and_the_bytes_alone_are_the_same(api: APIClient, storage: ImageStorage) -> None:
    assert through_the_app(api).json()["id"] == as_bytes(api).json()["id"]


def test_keys_of_different_owners_doors_and_texts_never_meet(
    api: APIClient, stranger: APIClient, storage: ImageStorage
) -> None:
    answers = [
        door(client, key)
        for client in (api, stranger)
        for door in (through_the_app, directly)
        for key in ("k", "K")
    ]
    assert len({answer.json()["id"] for answer in answers}) == 8
    assert through_the_app(stranger, body=OTHER_BODY, key="other").status_code == 202


def test_all_keys_of_an_account_share_theirs(
    api: APIClient, alice: User, storage: ImageStorage
) -> None:
    assert directly(api).json()["id"] == directly(client_of(alice)).json()["id"]


def test_without_a_key_each_request_is_an_upload(api: APIClient, storage: ImageStorage) -> None:
    for door in (announce, send):
        assert door(api, BODY).json()["id"] != door(api, BODY).json()["id"]
    assert Upload.objects.count() == 4
    assert not IdempotencyKey.objects.exists()


def test_a_key_may_stand_in_quotes(api: APIClient) -> None:
    """A String of RFC 9651, as the draft of the header has it; or bare, as most clients send it."""
    for key in ("8e03978e-40d5", "a", "!~;,=", "x" * 255):
        assert directly(api, key).json()["id"] == directly(api, f'"{key}"').json()["id"]
        assert IdempotencyKey.objects.filter(key=key).count() == 1


@EACH_DOOR
def test_what_is_no_key_is_refused(door: Door, api: APIClient, storage: ImageStorage) -> None:
    for key in ("", '""', '"', "x" * 256, "two words", "schlüssel", "a\tb", "a\x7f"):
        assert refusal(door(api, key)) == (400, "malformed"), key
    assert not Upload.objects.exists()


def test_other_requests_ignore_it(api: APIClient, storage: ImageStorage) -> None:
    upload_id = stage(directly, api)
    for answer in (
        api.get(f"{API}/uploads", HTTP_IDEMPOTENCY_KEY=""),
        api.post(f"{API}/uploads/{upload_id}/complete?wait=0", HTTP_IDEMPOTENCY_KEY="k"),
    ):
        assert answer.status_code < 300
    assert IdempotencyKey.objects.count() == 1


def test_the_description_tells_of_it(client: Client) -> None:
    paths = client.get(f"{API}/openapi.json").json()["paths"]
    described = {
        f"{method} {path}"
        for path, methods in paths.items()
        for method, operation in methods.items()
        for parameter in operation.get("parameters", ())
        if (parameter["in"], parameter["name"]) == ("header", "Idempotency-Key")
    }
    assert described == {f"post {API}/images", f"post {API}/uploads"}


# --- a first request that did not begin an upload ---------------------------------------------------


@EACH_DOOR
def test_a_refusal_before_the_upload_is_not_kept(
    door: Door, api: APIClient, alice: User, storage: ImageStorage
) -> None:
    quota = Quota.objects.create(owner=alice, size=1)
    assert refusal(door(api)) == (403, "quota_exceeded")
    assert not IdempotencyKey.objects.exists()
    quota.delete()
    assert door(api).status_code in (201, 202)


@EACH_DOOR
def test_a_repeat_needs_no_room(
    door: Door, api: APIClient, alice: User, storage: ImageStorage
) -> None:
    first = door(api).json()["id"]
    Quota.objects.create(owner=alice, size=len(BODY))
    assert door(api).json()["id"] == first
    assert refusal(door(api, "another")) == (403, "quota_exceeded")


@pytest.mark.parametrize("door", [through_the_app, as_bytes])
def test_when_the_store_is_down_nothing_is_bound(
    door: Door, api: APIClient, work: Work, storage: ImageStorage
) -> None:
    with store_down():
        assert [refusal(door(api)) for _ in range(2)] == [(503, "storage_unavailable")] * 2
    assert not Upload.objects.exists()
    assert not IdempotencyKey.objects.exists()
    upload_id = door(api).json()["id"]
    work()
    assert read(api, upload_id)["sha256"] == sha256(BODY)


def test_when_the_store_is_down_no_parts_are_bound(api: APIClient, in_parts: Settings) -> None:
    with store_down():
        assert refusal(directly(api)) == (503, "storage_unavailable")
    assert not Upload.objects.exists()
    assert directly(api).json()["parts"]


# --- at the same time -------------------------------------------------------------------------------


@pytest.fixture
def in_parts(settings: Settings) -> Settings:
    settings.PART_THRESHOLD = 10_000
    settings.PART_SIZE = 6_000
    return settings


def at_once(*jobs: Do) -> list[Any]:
    """Each in a thread of its own, all begun together."""
    ready = threading.Barrier(len(jobs))

    def run(job: Do) -> Any:
        try:
            ready.wait()
            return job()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(run, jobs))


@EACH_DOOR
def test_twenty_at_once_are_one_upload(
    door: Door, api: APIClient, alice: User, storage: ImageStorage, work: Work
) -> None:
    answers = at_once(*[partial(door, client_of(alice)) for _ in range(20)])
    told = [answer.json() for answer in answers]
    assert len({answer["id"] for answer in told if "id" in answer}) == 1
    for answer in answers:
        if answer.status_code == 409:
            assert refusal(answer) == (409, "in_progress")
            assert 0 < int(answer["Retry-After"]) <= 60
        else:
            assert answer.status_code == (201 if door is directly else 202)
    assert Upload.objects.count() == 1
    upload_id = stage(door, api)
    work()
    assert [str(image.id) for image in Image.objects.all()] == [upload_id]


class Hold:
    """Holds up the first request that comes to the bucket with something, until it is let go; then it may fail."""

    def __init__(self, *, fails: bool) -> None:
        self.fails, self.held = fails, 0
        self.has_come, self.may_go = threading.Event(), threading.Event()

    def __call__(self, **_: Any) -> None:
        self.held = self.held or threading.get_ident()
        if threading.get_ident() == self.held:
            self.has_come.set()
            assert self.may_go.wait(30)
            if self.fails:
                raise EndpointConnectionError(endpoint_url="http://nowhere")


@contextmanager
def held_up(door: Door, api: APIClient, *, fails: bool = False) -> Iterator[Do]:
    """A first request that is at the bucket already. What is given lets it go on, and is its answer."""
    hold, events = Hold(fails=fails), image_storage().client.meta.events
    names = [f"before-send.s3.{name}" for name in ("PutObject", "CreateMultipartUpload")]
    for name in names:
        events.register(name, hold)
    with ThreadPoolExecutor(1) as pool:
        answers = pool.submit(at_once, partial(door, api))

        def end() -> Answer:
            hold.may_go.set()
            return answers.result()[0]

        try:
            assert hold.has_come.wait(30)
            yield end
        finally:
            hold.may_go.set()
            for name in names:
                events.unregister(name, hold)


SLOW_DOOR = pytest.mark.parametrize("door", [through_the_app, directly])


@SLOW_DOOR
def test_while_the_first_is_at_work_a_repeat_is_told_to_wait(
    door: Door, api: APIClient, alice: User, storage: ImageStorage, in_parts: Settings
) -> None:
    with held_up(door, client_of(alice)) as end:
        again = door(api)
        assert refusal(again) == (409, "in_progress")
        assert 0 < int(again["Retry-After"]) <= 60
        first = end()
    assert door(api).json()["id"] == first.json()["id"]


@SLOW_DOOR
def test_after_the_lease_one_repeat_takes_over_and_the_first_changes_nothing(
    door: Door,
    api: APIClient,
    alice: User,
    storage: ImageStorage,
    work: Work,
    in_parts: Settings,
) -> None:
    with held_up(door, client_of(alice)) as end:
        the_lease_is_over()
        second = door(api).json()
        if door is directly:
            send_parts(api, second)
        work()
        image = read(api, second["id"])
        first = end()
    assert first.status_code in (201, 202)
    assert first.json()["id"] == second["id"]
    assert image["sha256"] == sha256(BODY)
    two_hours_pass()
    work()
    assert read(api, second["id"]) == image
    assert sorted(objects(storage)) == keys_of(image["id"])
    assert storage.open_parts() == []


@SLOW_DOOR
def test_of_many_repeats_after_the_lease_one_takes_over(
    door: Door, api: APIClient, alice: User, storage: ImageStorage, in_parts: Settings
) -> None:
    with held_up(door, client_of(alice)) as end:
        the_lease_is_over()
        with held_up(door, client_of(alice)) as end_the_second:
            repeats = [partial(door, client_of(alice)) for _ in range(5)]
            for answer in at_once(*repeats):
                assert refusal(answer) == (409, "in_progress")
            second = end_the_second()
        assert door(api).json()["id"] == second.json()["id"] == end().json()["id"]
    assert Upload.objects.count() == 1


def test_parts_go_by_the_addresses_of_the_first_and_of_who_took_over(
    api: APIClient, alice: User, storage: ImageStorage, in_parts: Settings, work: Work
) -> None:
    with held_up(directly, client_of(alice)) as end:
        the_lease_is_over()
        second = directly(api).json()
        first = end().json()
    assert len(storage.open_parts()) == 1
    assert put(first["parts"][0], BODY[:6_000]).status_code == 200
    assert put(second["parts"][1], BODY[6_000:]).status_code == 200
    assert complete(api, second["id"]).status_code == 202
    work()
    assert read(api, second["id"])["sha256"] == sha256(BODY)


@SLOW_DOOR
def test_a_first_that_fails_late_does_not_withdraw_what_a_repeat_has_taken_over(
    door: Door, api: APIClient, alice: User, storage: ImageStorage, in_parts: Settings
) -> None:
    with held_up(door, client_of(alice), fails=True) as end:
        the_lease_is_over()
        second = door(api).json()
        assert refusal(end()) == (503, "storage_unavailable")
    assert door(api).json()["id"] == second["id"]
    assert Upload.objects.get().multipart_id or door is through_the_app


@SLOW_DOOR
def test_a_first_that_fails_alone_is_withdrawn(
    door: Door, api: APIClient, alice: User, storage: ImageStorage, in_parts: Settings
) -> None:
    with held_up(door, client_of(alice), fails=True) as end:
        assert refusal(end()) == (503, "storage_unavailable")
    assert not Upload.objects.exists()
    assert door(api).status_code in (201, 202)


def test_an_owner_who_withdraws_it_meanwhile_is_obeyed(
    api: APIClient, alice: User, storage: ImageStorage
) -> None:
    with held_up(through_the_app, client_of(alice)) as end:
        api.delete(f"{API}/uploads/{Upload.objects.get().id}")
        assert refusal(end()) == (404, "not_found")
    assert refusal(through_the_app(api)) == (410, "gone")
    two_hours_pass()
    assert objects(storage) == []


# --- killed -----------------------------------------------------------------------------------------


class Mortal:
    """The server of `tests/mortal.py`, on the tests' own database and bucket."""

    def __init__(self) -> None:
        database = f"/{connection.settings_dict['NAME']}"
        environment = {
            **os.environ,
            "DATABASE_URL": urlsplit(os.environ["DATABASE_URL"])._replace(path=database).geturl(),
            "DJANGO_SETTINGS_MODULE": "project.settings",
            "LOG_LEVEL": "CRITICAL",
            "PART_THRESHOLD": "10000",
            "PART_SIZE": "6000",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.mortal"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        assert self.process.stdout
        self.address = f"http://{HOST}:{self.process.stdout.readline().strip()}{API}"

    @contextmanager
    def life(self, point: str = "") -> Iterator[None]:
        """One life of it, until it dies at the point or the block ends."""
        self._say(point)
        try:
            yield
        finally:
            self._say("")

    def _say(self, line: str) -> None:
        assert self.process.stdin
        print(line, file=self.process.stdin, flush=True)

    def end(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


@pytest.fixture(scope="module")
def mortal(django_db_setup: None, django_db_blocker: Any) -> Iterator[Mortal]:
    mortal = Mortal()
    yield mortal
    mortal.end()


class Caller:
    """A simple program that sends one picture through one door, with one key."""

    def __init__(self, mortal: Mortal, owner: User, path: str) -> None:
        _, text = ApiKey.objects.mint(owner, scopes=["read", "write"])
        self.headers = {"Authorization": f"Bearer {text}", "Idempotency-Key": "k"}
        self.mortal, self.path = mortal, path

    def ask(self) -> httpx2.Response | None:
        """The answer, or nothing when whoever should have given it died."""
        body: dict[str, Any] = {"files": {"file": ("cat.jpg", BODY, "image/jpeg")}}
        if self.path == "/uploads":
            body = {"json": {"name": "cat.jpg", "size": len(BODY), "content_type": "image/jpeg"}}
        try:
            return httpx2.post(
                f"{self.mortal.address}{self.path}?wait=0",
                headers=self.headers,
                timeout=30,
                **body,
            )
        except httpx2.TransportError:
            return None


BOTH = ["before the row", "row not committed", "row committed", "before the answer"]
OF_A_DOOR = {
    "/images": [*BOTH, "half of it put", "all of it put", "staged, not committed", "staged"],
    "/uploads": [*BOTH, "before the parts", "parts begun"],
}
LEASED = {"row committed", "half of it put", "all of it put", "staged, not committed"} | {
    "before the parts",
    "parts begun",
}


def test_every_point_has_its_turn() -> None:
    assert {point for points in OF_A_DOOR.values() for point in points} == POINTS.keys() - {""}


@pytest.mark.parametrize(
    ("path", "point"), [(path, point) for path, points in OF_A_DOOR.items() for point in points]
)
def test_killed_there_and_repeated_it_is_one_image(
    path: str,
    point: str,
    mortal: Mortal,
    alice: User,
    api: APIClient,
    storage: ImageStorage,
    work: Work,
) -> None:
    caller = Caller(mortal, alice, path)
    with mortal.life(point):
        assert caller.ask() is None
    begun = list(Upload.objects.values_list("id", flat=True))
    assert len(begun) == (point not in ("before the row", "row not committed"))
    with mortal.life():
        if point in LEASED:
            told = caller.ask()
            assert told is not None
            assert (told.status_code, told.json()["code"]) == (409, "in_progress")
            the_lease_is_over()
        answers = [caller.ask() for _ in range(2)]
    ids = {answer.json()["id"] for answer in answers if answer and answer.is_success}
    assert len(ids) == 1
    upload_id = ids.pop()
    assert begun in ([], [Upload.objects.get().id])
    if path == "/uploads":
        assert answers[1]
        send_parts(api, answers[1].json())
    ends_as_one_image(upload_id, api, storage, work)


def ends_as_one_image(upload_id: str, api: APIClient, storage: ImageStorage, work: Work) -> None:
    work()
    image = read(api, upload_id)
    assert httpx2.get(image["original"]["url"]).content == BODY
    assert (Image.objects.count(), Upload.objects.count()) == (1, 0)
    two_hours_pass()
    work()
    assert sorted(objects(storage)) == keys_of(upload_id)
    assert storage.open_parts() == []


@pytest.mark.parametrize("seed", range(2))
def test_killed_ten_times_at_random_it_is_one_image(
    seed: int, mortal: Mortal, alice: User, api: APIClient, storage: ImageStorage, work: Work
) -> None:
    """A client that asks until it is told 201; a server that is killed each time, and then lives."""
    dice, caller = random.Random(seed), Caller(mortal, alice, "/images")
    answer, told = None, set()
    for _ in range(10):
        with mortal.life(str(dice.uniform(0, 0.3))):
            answer = caller.ask()
        if answer is not None and answer.is_success:
            told.add(answer.json()["id"])
        the_lease_is_over()
    with mortal.life():
        while answer is None or answer.status_code != 201:
            answer = caller.ask()
            work()
    assert told <= {answer.json()["id"]}
    ends_as_one_image(answer.json()["id"], api, storage, work)
