"""Announce, send to the bucket, complete; in one piece or in parts; what is refused; what a stranger sees."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from django.contrib.auth.models import User
from django.db import connection, connections
from procrastinate.contrib.django.models import ProcrastinateJob
from pytest_django import Settings
from rest_framework.test import APIClient

from media_api import examination, sweeps, uploads
from media_api.exceptions import NotAnImage
from media_api.models import Image, PendingDeletion, Upload, database_now
from media_api.storage import ImageStorage
from tests import pictures
from tests.conftest import Work, objects, store_down, stored_on
from tests.sending import (
    API,
    announce,
    complete,
    path_of,
    put,
    read,
    refusal,
    send_directly,
    sha256,
)
from tests.services import Store

Keep = Callable[..., Image]


def ask(api: APIClient, upload_id: str) -> Any:
    return api.get(f"{API}/uploads/{upload_id}")


def overdue(**lookups: Any) -> None:
    """The time of these uploads is over."""
    Upload.objects.filter(**lookups).update(expires_at=database_now() - timedelta(seconds=1))


@pytest.fixture
def in_parts(settings: Settings) -> Settings:
    """Whatever has more than 10 kB is sent in parts of 40 kB."""
    settings.PART_THRESHOLD = 10_000
    settings.PART_SIZE = 40_000
    return settings


BODY_IN_PARTS = pictures.large(100_000)


def part(body: bytes, number: int, size: int = 40_000) -> bytes:
    return body[(number - 1) * size : number * size]


# --- in one piece ---------------------------------------------------------------------------------


def test_a_picture_is_announced_sent_completed_and_kept(api: APIClient, work: Work) -> None:
    body = pictures.jpeg(800, 600)
    answer = announce(api, body, tags=["cat"], sha256=sha256(body))
    assert answer.status_code == 201
    upload = answer.json()
    assert (upload["state"], upload["method"], upload["error"]) == ("announced", "PUT", None)
    assert upload["headers"] == {"Content-Type": "image/jpeg"}
    again = api.get(path_of(answer["Location"])).json()
    assert again["state"] == "announced"

    sent = httpx2.request(upload["method"], upload["url"], content=body, headers=upload["headers"])
    assert sent.status_code == 200
    staged = complete(api, upload["id"])
    assert (staged.status_code, staged.json()["state"]) == (202, "staged")
    assert path_of(staged["Location"]) == f"{API}/uploads/{upload['id']}"

    work()
    kept = ask(api, upload["id"]).json()
    image = read(api, upload["id"])
    assert (kept["state"], kept["image"]) == ("kept", image)
    assert (image["sha256"], image["tags"]) == (sha256(body), ["cat"])
    assert httpx2.get(image["original"]["url"]).content == body


def test_who_waits_gets_the_image(api: APIClient, worker: None) -> None:
    body = pictures.jpeg()
    upload = announce(api, body).json()
    put(upload, body)
    answer = complete(api, upload["id"], wait=20)
    assert answer.status_code == 201
    assert answer.json()["id"] == upload["id"]
    assert path_of(answer["Location"]) == f"{API}/images/{upload['id']}"


def test_to_complete_may_be_repeated(api: APIClient, work: Work, storage: ImageStorage) -> None:
    body = pictures.jpeg()
    upload = announce(api, body).json()
    put(upload, body)
    assert [complete(api, upload["id"]).status_code for _ in range(3)] == [202, 202, 202]
    assert ProcrastinateJob.objects.filter(task_name="examine").count() == 1
    work()
    kept = complete(api, upload["id"])
    assert (kept.status_code, kept.json()["sha256"]) == (200, sha256(body))
    assert Image.objects.count() == 1


def test_a_late_complete_does_not_bring_back_what_was_refused(
    api: APIClient, work: Work, storage: ImageStorage
) -> None:
    """Its request found the upload announced; another one completed it, and the worker refused it."""
    upload = announce(api, b"no picture").json()
    put(upload, b"no picture")
    late = Upload.objects.get(id=upload["id"])
    complete(api, upload["id"])
    work()
    with pytest.raises(NotAnImage):
        uploads.complete(late)
    assert ask(api, upload["id"]).json()["state"] == "refused"
    assert not ProcrastinateJob.objects.exists()


def test_the_staged_bytes_go_when_the_image_is_kept(
    api: APIClient, work: Work, storage: ImageStorage
) -> None:
    image_id = send_directly(api, pictures.jpeg(400, 300)).json()["id"]
    assert objects(storage) == [f"staging/{image_id}"]
    work()
    assert sorted(objects(storage)) == [
        f"images/{image_id}/{name}" for name in ("320.webp", "image.json", "original.jpg")
    ]


def test_the_type_of_the_bucket_is_not_the_claimed_one(api: APIClient, work: Work) -> None:
    image_id = send_directly(api, pictures.png(), content_type="text/html").json()["id"]
    work()
    image = read(api, image_id)
    assert image["content_type"] == "image/png"
    assert httpx2.get(image["original"]["url"]).headers["content-type"] == "image/png"


@pytest.mark.parametrize("difference", [-1, 1])
def test_the_bucket_takes_exactly_the_announced_length(
    api: APIClient, store: Store, difference: int
) -> None:
    body = pictures.jpeg()
    with stored_on(store) as storage:
        storage.make_bucket()
        upload = announce(api, body, size=len(body) + difference).json()
        assert put(upload, body).status_code == 403
        assert list(storage.keys("staging/")) == []


def test_the_bucket_takes_exactly_the_announced_type(api: APIClient, store: Store) -> None:
    with stored_on(store) as storage:
        upload = announce(api, pictures.jpeg()).json()
        upload["headers"]["Content-Type"] = "text/html"
        assert put(upload, pictures.jpeg()).status_code == 403
        assert list(storage.keys("staging/")) == []


def test_the_whole_way_on_every_store(api: APIClient, work: Work, store: Store) -> None:
    body = pictures.jpeg(700, 500)
    with stored_on(store) as storage:
        image_id = send_directly(api, body).json()["id"]
        work()
        image = read(api, image_id)
        shown = httpx2.get(image["original"]["url"])
        assert shown.content == body
        assert shown.headers["content-type"] == "image/jpeg"
        assert httpx2.get(image["renditions"][0]["url"]).status_code == 200
        assert list(storage.keys("staging/")) == []
        storage.remove(list(storage.keys("images/")))


# --- in parts -------------------------------------------------------------------------------------


def test_a_large_one_is_sent_in_parts(api: APIClient, work: Work, in_parts: Settings) -> None:
    upload = announce(api, BODY_IN_PARTS).json()
    assert upload["part_size"] == 40_000
    assert "url" not in upload
    assert [address["number"] for address in upload["parts"]] == [1, 2, 3]
    for address in upload["parts"]:
        assert put(address, part(BODY_IN_PARTS, address["number"])).status_code == 200
    assert [(p["number"], p["size"]) for p in ask(api, upload["id"]).json()["parts"]] == [
        (1, 40_000),
        (2, 40_000),
        (3, 20_000),
    ]
    assert complete(api, upload["id"]).status_code == 202
    work()
    assert httpx2.get(read(api, upload["id"])["original"]["url"]).content == BODY_IN_PARTS


def test_parts_on_every_store(api: APIClient, work: Work, settings: Settings, store: Store) -> None:
    """5 MiB is the least that S3 takes as a part; the last may be shorter."""
    settings.PART_SIZE = settings.PART_THRESHOLD = 5 * 1024 * 1024
    body = pictures.large(settings.PART_SIZE + 1000)
    with stored_on(store) as storage:
        upload = announce(api, body).json()
        for address in upload["parts"]:
            assert put(address, part(body, address["number"], settings.PART_SIZE)).is_success
        assert complete(api, upload["id"]).status_code == 202
        work()
        assert read(api, upload["id"])["sha256"] == sha256(body)
        storage.remove(list(storage.keys("images/")))


def test_what_is_below_the_threshold_is_sent_in_one_piece(
    api: APIClient, in_parts: Settings
) -> None:
    assert "url" in announce(api, b"x" * 10_000).json()
    assert "parts" in announce(api, b"x" * 10_001).json()
    assert len(announce(api, b"x" * 80_000).json()["parts"]) == 2


def test_an_upload_in_parts_is_resumed(api: APIClient, work: Work, in_parts: Settings) -> None:
    upload = announce(api, BODY_IN_PARTS).json()
    put(upload["parts"][1], part(BODY_IN_PARTS, 2))
    assert [p["number"] for p in ask(api, upload["id"]).json()["parts"]] == [2]
    early = complete(api, upload["id"])
    assert refusal(early) == (409, "not_staged")
    assert "2 of 3" in early.json()["detail"]

    fresh = api.post(
        f"{API}/uploads/{upload['id']}/parts", {"numbers": [3, 1, 4]}, format="json"
    ).json()["parts"]
    assert [address["number"] for address in fresh] == [3, 1]
    for address in fresh:
        assert put(address, part(BODY_IN_PARTS, address["number"])).status_code == 200
    assert complete(api, upload["id"]).status_code == 202
    work()
    assert read(api, upload["id"])["sha256"] == sha256(BODY_IN_PARTS)


def test_a_part_has_exactly_its_length(api: APIClient, in_parts: Settings) -> None:
    upload = announce(api, BODY_IN_PARTS).json()
    last = upload["parts"][2]
    for size in 19_999, 20_001, 40_000:
        assert put(last, b"x" * size).status_code == 403
    assert ask(api, upload["id"]).json()["parts"] == []


def test_a_part_may_be_sent_again(
    api: APIClient, work: Work, in_parts: Settings, minio: Store
) -> None:
    """rclone answers 501 to that."""
    with stored_on(minio):
        upload = announce(api, BODY_IN_PARTS, size=40_000).json()
        put(upload["parts"][0], b"x" * 40_000)
        put(upload["parts"][0], pictures.large(40_000))
        complete(api, upload["id"])
        work()
        assert read(api, upload["id"])["sha256"] == sha256(pictures.large(40_000))


def test_parts_that_were_joined_before_are_found(
    api: APIClient, storage: ImageStorage, in_parts: Settings
) -> None:
    """The answer to the first `complete` was lost between the bucket and the row."""
    upload = announce(api, BODY_IN_PARTS).json()
    for address in upload["parts"]:
        put(address, part(BODY_IN_PARTS, address["number"]))
    row = Upload.objects.get(id=upload["id"])
    storage.join_parts(row.key, row.multipart_id, storage.parts(row.key, row.multipart_id))
    assert ask(api, upload["id"]).json()["parts"] == []
    assert complete(api, upload["id"]).status_code == 202


def test_a_client_that_completes_late_disturbs_nothing(
    api: APIClient, work: Work, storage: ImageStorage, in_parts: Settings
) -> None:
    """Its request found the upload announced; another one completed it, and the worker was quick."""
    upload = announce(api, BODY_IN_PARTS).json()
    late, too_late = (Upload.objects.get(id=upload["id"]) for _ in range(2))
    for address in upload["parts"]:
        put(address, part(BODY_IN_PARTS, address["number"]))
    complete(api, upload["id"])
    uploads.complete(late)
    work()
    uploads.complete(too_late)
    assert read(api, upload["id"])["sha256"] == sha256(BODY_IN_PARTS)
    sweeps.sweep_staging()
    assert storage.open_parts() == []


def test_what_the_store_forgot_begins_anew(
    api: APIClient, work: Work, storage: ImageStorage, in_parts: Settings
) -> None:
    """As rclone does with uploads in parts when it is killed."""
    upload = announce(api, BODY_IN_PARTS).json()
    put(upload["parts"][0], part(BODY_IN_PARTS, 1))
    row = Upload.objects.get(id=upload["id"])
    storage.abort_parts(row.key, row.multipart_id)
    assert put(upload["parts"][1], part(BODY_IN_PARTS, 2)).status_code == 404

    forgotten = complete(api, upload["id"])
    assert refusal(forgotten) == (409, "not_staged")
    assert "3 of 3" in forgotten.json()["detail"]
    assert ask(api, upload["id"]).json()["parts"] == []
    fresh = api.post(
        f"{API}/uploads/{upload['id']}/parts", {"numbers": [1, 2, 3]}, format="json"
    ).json()["parts"]
    for address in fresh:
        assert put(address, part(BODY_IN_PARTS, address["number"])).status_code == 200
    assert complete(api, upload["id"]).status_code == 202
    work()
    assert read(api, upload["id"])["sha256"] == sha256(BODY_IN_PARTS)


def test_fresh_addresses_are_of_what_the_store_knows(
    api: APIClient, storage: ImageStorage, in_parts: Settings
) -> None:
    """Whoever resumes may ask for addresses at once, without a look at the upload first."""
    upload = announce(api, BODY_IN_PARTS).json()
    row = Upload.objects.get(id=upload["id"])
    storage.abort_parts(row.key, row.multipart_id)
    fresh = api.post(f"{API}/uploads/{upload['id']}/parts", {"numbers": [1]}, format="json").json()
    assert put(fresh["parts"][0], part(BODY_IN_PARTS, 1)).status_code == 200


@pytest.mark.parametrize("numbers", [[0], [-1], [10_001], ["x"], "1", None])
def test_numbers_of_parts_that_are_not_allowed(
    api: APIClient, in_parts: Settings, numbers: Any
) -> None:
    upload = announce(api, BODY_IN_PARTS).json()
    answer = api.post(f"{API}/uploads/{upload['id']}/parts", {"numbers": numbers}, format="json")
    assert refusal(answer) == (422, "invalid")


def test_an_upload_in_one_piece_has_no_parts(api: APIClient) -> None:
    upload = announce(api, pictures.jpeg()).json()
    answer = api.post(f"{API}/uploads/{upload['id']}/parts", {"numbers": [1]}, format="json")
    assert (answer.status_code, answer.json()) == (200, {"parts": []})


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"name": ""}, "/name"),
        ({"name": None}, "/name"),
        ({"size": -1}, "/size"),
        ({"size": "many"}, "/size"),
        ({"content_type": "jpeg"}, "/content_type"),
        ({"content_type": "image/jpeg\r\nX-Evil: 1"}, "/content_type"),
        ({"content_type": "imagé/jpeg"}, "/content_type"),
        ({"content_type": "image/" + "x" * 100}, "/content_type"),
        ({"sha256": "abc"}, "/sha256"),
        ({"sha256": "g" * 64}, "/sha256"),
        ({"tags": ["a,b"]}, "/tags"),
        ({"tags": [str(number) for number in range(33)]}, "/tags"),
    ],
)
def test_announcements_that_are_not_allowed(
    api: APIClient, changes: dict[str, Any], pointer: str
) -> None:
    answer = announce(api, b"", **{"size": 10, **changes})
    assert refusal(answer) == (422, "invalid")
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert not Upload.objects.exists()


def test_announcements_of_the_wrong_size(api: APIClient, settings: Settings) -> None:
    assert refusal(announce(api, b"")) == (422, "empty")
    assert refusal(announce(api, b"", size=settings.MAX_UPLOAD_SIZE + 1)) == (413, "too_large")
    assert refusal(announce(api, b"", size=10**30)) == (413, "too_large")
    assert announce(api, b"", size=settings.MAX_UPLOAD_SIZE).status_code == 201


def test_to_complete_before_the_bytes_have_arrived(api: APIClient, work: Work) -> None:
    body = pictures.jpeg()
    upload = announce(api, body).json()
    assert refusal(complete(api, upload["id"])) == (409, "not_staged")
    put(upload, body)
    assert complete(api, upload["id"]).status_code == 202


def test_other_bytes_than_announced_leave_nothing(
    api: APIClient, work: Work, storage: ImageStorage
) -> None:
    body = pictures.jpeg()
    upload_id = send_directly(api, body, sha256=sha256(b"another")).json()["id"]
    work()
    assert ask(api, upload_id).json()["error"]["code"] == "checksum_mismatch"
    assert refusal(complete(api, upload_id)) == (422, "checksum_mismatch")
    assert objects(storage) == []


def test_another_size_than_announced_leaves_nothing(
    api: APIClient, work: Work, storage: ImageStorage
) -> None:
    """A store that does not look at the length that is signed."""
    for body in pictures.jpeg()[:-1], pictures.jpeg() + b"x":
        upload = announce(api, pictures.jpeg()).json()
        storage.keep(f"staging/{upload['id']}", body, content_type="image/jpeg")
        complete(api, upload["id"])
        work()
        assert ask(api, upload["id"]).json()["error"]["code"] == "size_mismatch"
    assert objects(storage) == []


def test_bytes_that_went_before_they_were_examined(
    api: APIClient, work: Work, storage: ImageStorage
) -> None:
    upload_id = send_directly(api, pictures.jpeg()).json()["id"]
    storage.remove([f"staging/{upload_id}"])
    work()
    assert ask(api, upload_id).json()["error"]["code"] == "size_mismatch"


def test_a_refusal_is_told_for_a_day(api: APIClient, work: Work) -> None:
    upload_id = send_directly(api, b"no picture").json()["id"]
    work()
    refused = ask(api, upload_id).json()
    assert refused["state"] == "refused"
    assert refused["error"] == {"code": "not_an_image", "detail": refused["error"]["detail"]}
    assert "url" not in refused
    sweeps.expire_overdue()
    assert ask(api, upload_id).status_code == 200
    overdue(id=upload_id)
    sweeps.expire_overdue()
    assert refusal(ask(api, upload_id)) == (404, "not_found")


# --- when its time is over ------------------------------------------------------------------------


def test_an_upload_expires(api: APIClient, storage: ImageStorage) -> None:
    body = pictures.jpeg()
    upload = announce(api, body).json()
    put(upload, body)
    living = announce(api, body).json()
    put(living, body)
    overdue(id=upload["id"])
    assert sweeps.expire_overdue() == 1
    for answer in (
        ask(api, upload["id"]),
        complete(api, upload["id"]),
        api.post(f"{API}/uploads/{upload['id']}/parts", {"numbers": [1]}, format="json"),
    ):
        assert refusal(answer) == (410, "upload_expired")
    assert objects(storage) == [f"staging/{living['id']}"]
    overdue(id=upload["id"])
    assert sweeps.expire_overdue() == 0
    assert refusal(ask(api, upload["id"])) == (404, "not_found")


def test_an_upload_in_parts_expires(
    api: APIClient, storage: ImageStorage, in_parts: Settings
) -> None:
    upload = announce(api, BODY_IN_PARTS).json()
    put(upload["parts"][0], part(BODY_IN_PARTS, 1))
    overdue()
    assert sweeps.expire_overdue() == 1
    assert storage.open_parts() == []


def test_one_that_is_overdue_and_not_swept_yet(api: APIClient) -> None:
    body = pictures.jpeg()
    late, too_late = announce(api, body).json(), announce(api, body).json()
    put(late, body)
    overdue()
    assert complete(api, late["id"]).status_code == 202
    assert refusal(complete(api, too_late["id"])) == (410, "upload_expired")
    assert refusal(ask(api, too_late["id"])) == (410, "upload_expired")


def test_what_is_staged_does_not_expire(api: APIClient, work: Work) -> None:
    upload_id = send_directly(api, pictures.jpeg()).json()["id"]
    overdue()
    assert sweeps.expire_overdue() == 0
    work()
    read(api, upload_id)


# --- withdrawn ------------------------------------------------------------------------------------


def test_an_upload_is_withdrawn(api: APIClient, storage: ImageStorage, in_parts: Settings) -> None:
    body = pictures.jpeg()
    whole, parts = announce(api, body).json(), announce(api, BODY_IN_PARTS).json()
    put(whole, body)
    put(parts["parts"][0], part(BODY_IN_PARTS, 1))
    for upload in whole, parts:
        address = f"{API}/uploads/{upload['id']}"
        assert api.delete(address).status_code == 204
        assert refusal(api.get(address)) == (404, "not_found")
        assert refusal(api.delete(address)) == (404, "not_found")
    assert objects(storage) == []
    assert storage.open_parts() == []
    assert not PendingDeletion.objects.exists()  # no worker ever looked at them


def test_what_was_withdrawn_is_not_kept(api: APIClient, work: Work, storage: ImageStorage) -> None:
    upload_id = send_directly(api, pictures.jpeg()).json()["id"]
    assert api.delete(f"{API}/uploads/{upload_id}").status_code == 204
    work()
    assert not Image.objects.exists()
    assert objects(storage) == []


def test_what_is_kept_is_not_withdrawn(api: APIClient, alice: User, keep: Keep) -> None:
    address = f"{API}/uploads/{keep(alice).id}"
    assert refusal(api.delete(address)) == (409, "already_kept")
    assert refusal(api.post(f"{address}/parts", {"numbers": [1]}, format="json")) == (
        409,
        "already_kept",
    )
    assert Image.objects.count() == 1


# --- kept while it is asked for -------------------------------------------------------------------


@contextmanager
def kept_before_query(number: int, upload_id: str) -> Iterator[None]:
    """The worker keeps the upload between two queries of a request."""
    left = iter(range(number))

    def look(execute: Any, *query: Any) -> Any:
        if next(left, None) == number - 1:
            with ThreadPoolExecutor() as pool:
                pool.submit(in_thread, upload_id).result()
        return execute(*query)

    with connection.execute_wrapper(look):
        yield


def in_thread(upload_id: str) -> None:
    try:
        examination.examine(Upload(id=upload_id).id)
    finally:
        connections.close_all()


@pytest.mark.parametrize("number", range(1, 8))
@pytest.mark.parametrize(
    ("method", "rest", "expected"),
    [
        ("get", "", {200}),
        ("post", "/complete?wait=0", {200, 201}),
        ("delete", "", {409}),
    ],
)
def test_an_upload_that_is_kept_meanwhile_is_its_image(
    api: APIClient, method: str, rest: str, expected: set[int], number: int
) -> None:
    upload_id = send_directly(api, pictures.jpeg()).json()["id"]
    with kept_before_query(number, upload_id):
        answer = getattr(api, method)(f"{API}/uploads/{upload_id}{rest}")
    if Image.objects.exists() and not (method == "delete" and answer.status_code == 204):
        assert answer.status_code in expected | {202}
        assert ask(api, upload_id).json()["state"] == "kept"
    else:
        assert not Image.objects.exists()


# --- the job --------------------------------------------------------------------------------------


def examine_at_once(upload_id: Any, workers: int = 2) -> None:
    """As many workers have the same job at the same time."""
    together = threading.Barrier(workers)

    def job() -> None:
        together.wait()
        in_thread(upload_id)

    with ThreadPoolExecutor(workers) as pool:
        for done in [pool.submit(job) for _ in range(workers)]:
            done.result()


def test_two_workers_on_one_job_keep_one_image(api: APIClient, storage: ImageStorage) -> None:
    for seed in range(5):
        body = pictures.jpeg(400, 300, seed=seed)
        upload_id = send_directly(api, body).json()["id"]
        examine_at_once(upload_id)
        image = read(api, upload_id)
        assert httpx2.get(image["original"]["url"]).content == body
    assert Image.objects.count() == 5
    assert len(objects(storage)) == 15
    assert not PendingDeletion.objects.exists()


def test_two_workers_on_one_job_refuse_once(api: APIClient, storage: ImageStorage) -> None:
    upload_id = send_directly(api, b"no picture").json()["id"]
    examine_at_once(upload_id)
    assert ask(api, upload_id).json()["error"]["code"] in ("not_an_image", "size_mismatch")
    assert objects(storage) == []


def test_other_bytes_between_two_attempts_are_refused(
    api: APIClient, work: Work, storage: ImageStorage
) -> None:
    """The first attempt wrote down what the bytes were, kept some of them, and died. The URL was used again."""
    first, second = pictures.large(20_000, seed=1), pictures.large(20_000, seed=2)
    upload = announce(api, first).json()
    put(upload, first)
    complete(api, upload["id"])
    Upload.objects.update(sha256=sha256(first))
    storage.keep(f"images/{upload['id']}/original.png", first, content_type="image/png")
    put(upload, second)
    work()
    assert ask(api, upload["id"]).json()["error"]["code"] == "checksum_mismatch"
    assert not Image.objects.exists()
    assert PendingDeletion.objects.filter(id=upload["id"]).exists()


def test_bytes_sent_after_it_was_kept_change_nothing(
    api: APIClient, work: Work, storage: ImageStorage
) -> None:
    first, second = pictures.large(20_000, seed=1), pictures.large(20_000, seed=2)
    upload = announce(api, first).json()
    put(upload, first)
    complete(api, upload["id"])
    work()
    assert put(upload, second).status_code == 200  # the URL lives; it leads to staging/
    assert complete(api, upload["id"]).status_code == 200
    work()
    assert httpx2.get(read(api, upload["id"])["original"]["url"]).content == first
    sweeps.sweep_staging()
    assert list(storage.keys("staging/")) == []


def test_a_job_waits_for_the_store(api: APIClient, work: Work) -> None:
    upload_id = send_directly(api, pictures.jpeg()).json()["id"]
    with store_down():
        work()
    (job,) = ProcrastinateJob.objects.filter(task_name="examine")
    assert (job.status, job.attempts) == ("todo", 1)
    upload = Upload.objects.get(id=upload_id)
    assert (upload.state, upload.attempts) == ("staged", 0)
    with connection.cursor() as cursor:  # and the time until the next attempt goes by
        cursor.execute("UPDATE procrastinate_jobs SET scheduled_at = NULL")
    work()
    read(api, upload_id)


class Killed(BaseException):
    pass


class Killer:
    """Lets so many calls to the bucket through, and no more."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def __call__(self, **_: Any) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed


def test_a_job_is_repeated_wherever_it_was_cut(api: APIClient, storage: ImageStorage) -> None:
    """The worker dies before each of its calls to the bucket in turn; the next one begins anew."""
    body = pictures.jpeg(400, 300)
    calls, upload_id, kept = 0, send_directly(api, body).json()["id"], False
    while not kept:
        cut = Killer(calls)
        storage.client.meta.events.register("before-send.s3", cut)
        try:
            examination.examine(Upload(id=upload_id).id)
            kept = True
        except Killed:
            kept = Image.objects.exists()
            Upload.objects.update(attempts=0)  # not the decoder's fault
        finally:
            storage.client.meta.events.unregister("before-send.s3", cut)
        calls += 1
    assert calls > 4
    assert httpx2.get(read(api, upload_id)["original"]["url"]).content == body
    sweeps.sweep_staging()
    assert len(objects(storage)) == 3


# --- the stranger ---------------------------------------------------------------------------------


def test_a_stranger_finds_nothing(
    api: APIClient, stranger: APIClient, work: Work, in_parts: Settings
) -> None:
    announced = announce(api, BODY_IN_PARTS).json()["id"]
    staged = send_directly(api, pictures.jpeg()).json()["id"]
    work()
    kept = staged
    refused = send_directly(api, b"no picture").json()["id"]
    work()
    for upload_id in announced, kept, refused:
        for method, rest in (
            ("get", ""),
            ("delete", ""),
            ("post", "/parts"),
            ("post", "/complete?wait=0"),
        ):
            address = f"{API}/uploads/{upload_id}{rest}"
            answer = getattr(stranger, method)(address, {"numbers": [1]}, format="json")
            assert refusal(answer) == (404, "not_found"), (method, rest)
    assert stranger.get(f"{API}/uploads").json()["results"] == []
    assert Upload.objects.count() == 2
    assert Image.objects.count() == 1


# --- the store is down ----------------------------------------------------------------------------


def test_without_the_store_an_upload_in_one_piece_is_announced(api: APIClient) -> None:
    with store_down():
        upload = announce(api, pictures.jpeg()).json()
        answer = complete(api, upload["id"])
    assert refusal(answer) == (503, "storage_unavailable")
    assert answer["Retry-After"]
    assert ask(api, upload["id"]).json()["state"] == "announced"


def test_without_the_store_one_in_parts_is_not_announced(
    api: APIClient, in_parts: Settings
) -> None:
    with store_down():
        assert refusal(announce(api, BODY_IN_PARTS)) == (503, "storage_unavailable")
    assert not Upload.objects.exists()


def test_without_the_store_an_upload_is_withdrawn_and_swept_later(
    api: APIClient, storage: ImageStorage
) -> None:
    body = pictures.jpeg()
    upload = announce(api, body).json()
    put(upload, body)
    with store_down():
        assert api.delete(f"{API}/uploads/{upload['id']}").status_code == 204
    assert objects(storage) == [f"staging/{upload['id']}"]
    sweeps.sweep_staging()
    assert objects(storage) == []


def test_without_the_store_an_upload_expires_later(api: APIClient, storage: ImageStorage) -> None:
    body = pictures.jpeg()
    put(announce(api, body).json(), body)
    overdue()
    with store_down(), pytest.raises(Exception, match="does not answer"):
        sweeps.expire_overdue()
    assert Upload.objects.get().state == "announced"  # whose bucket it is, nobody can tell
    assert sweeps.expire_overdue() == 1
    assert Upload.objects.get().state == "expired"
    assert objects(storage) == []


# --- what it costs --------------------------------------------------------------------------------
