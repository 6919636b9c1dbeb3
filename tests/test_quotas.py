"""What an owner uses is counted by the database, whoever writes, and nobody gets beyond the quota."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import IntegrityError, OperationalError, connection, connections, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings
from rest_framework.test import APIClient

from media_api import images, sweeps, uploads
from media_api.exceptions import QuotaExceeded
from media_api.models import Image, Quota, Upload, Usage, database_now
from media_api.storage import ImageStorage
from media_api.uploads import Announcement
from tests import busy, pictures
from tests.conftest import Work, client_of, store_down
from tests.sending import API, announce, post_bytes, refusal, send, send_bytes, send_directly
from tests.serving import wait_until

Keep = Callable[..., Image]


def used(owner: User) -> int:
    return sum(Usage.objects.filter(owner=owner).values_list("used", flat=True))


def announced(owner: User, size: int = 100) -> Upload:
    return uploads.announce(owner, Announcement("cat.jpg", size, "image/jpeg"))


def execute(statement: str, *parameters: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


# --- what counts (that the rows are what they should be is looked at after every test of all files) ---


def test_an_upload_counts_from_its_announcement_until_it_is_withdrawn(
    api: APIClient, alice: User
) -> None:
    first, second = (announce(api, b"", size=size).json()["id"] for size in (100, 20))
    assert used(alice) == 120
    api.delete(f"{API}/uploads/{first}")
    assert used(alice) == 20
    api.delete(f"{API}/uploads/{second}")
    assert used(alice) == 0


def test_what_expires_is_given_back_once(api: APIClient, alice: User) -> None:
    announced(alice)
    left = announced(alice, 7)
    Upload.objects.exclude(id=left.id).update(expires_at=database_now() - timedelta(seconds=1))
    sweeps.expire_overdue()
    assert used(alice) == 7
    Upload.objects.exclude(id=left.id).update(expires_at=database_now() - timedelta(seconds=1))
    sweeps.expire_overdue()
    assert list(Upload.objects.all()) == [left]
    assert used(alice) == 7


def test_what_is_refused_is_given_back_once(api: APIClient, alice: User, work: Work) -> None:
    upload_id = send_directly(api, b"no picture").json()["id"]
    assert used(alice) == len(b"no picture")
    work()
    assert used(alice) == 0
    api.delete(f"{API}/uploads/{upload_id}")
    assert used(alice) == 0


def test_an_image_counts_until_it_is_deleted_for_good(
    api: APIClient, alice: User, mallory: User, keep: Keep, work: Work
) -> None:
    image = keep(alice)
    keep(mallory, pictures.png())
    assert used(alice) == image.size
    api.delete(f"{API}/images/{image.id}")
    assert used(alice) == image.size
    api.post(f"{API}/images/{image.id}/restore")
    assert used(alice) == image.size
    api.delete(f"{API}/images/{image.id}?permanent=true")
    assert used(alice) == 0
    work()
    images.purge_due()
    assert used(alice) == 0
    assert used(mallory) == len(pictures.png())


def test_what_the_store_did_not_take_does_not_count(alice: User, storage: ImageStorage) -> None:
    with store_down():
        assert send(client_of(alice), pictures.jpeg()).status_code == 503
    assert used(alice) == 0


def test_the_emptied_trash_of_many_is_given_back_to_each(
    storage: ImageStorage, alice: User, mallory: User, keep: Keep
) -> None:
    for owner in (alice, mallory, alice):
        keep(owner)
    left = keep(mallory)
    long_ago = database_now() - timedelta(days=40)
    Image.objects.exclude(id=left.id).update(trashed_at=long_ago)
    assert images.empty_old_trash() == 3
    assert (used(alice), used(mallory)) == (0, left.size)


# Alice has an upload of 100 bytes, mallory one of 100 and one of 110; what each uses after a statement in psql.
STATEMENTS = [
    ("UPDATE media_api_upload SET size = size + 1", (101, 212)),
    ("UPDATE media_api_upload SET name = 'other'", (100, 210)),
    ("UPDATE media_api_upload SET state = 'expired' WHERE size = 100", (0, 110)),
    ("UPDATE media_api_upload SET state = 'expired', size = 9 WHERE size = 110", (100, 100)),
    ("UPDATE media_api_upload SET owner_id = (SELECT min(id) FROM auth_user)", (310, 0)),
    ("DELETE FROM media_api_upload WHERE size = 100", (0, 110)),
    ("DELETE FROM media_api_upload WHERE size = 1", (100, 210)),
    ("DELETE FROM media_api_upload", (0, 0)),
]


@pytest.mark.parametrize(("statement", "expected"), STATEMENTS)
def test_a_statement_about_uploads_of_many(
    alice: User, mallory: User, statement: str, expected: tuple[int, int]
) -> None:
    announced(alice)
    announced(mallory)
    announced(mallory, 110)
    execute(statement)
    assert (used(alice), used(mallory)) == expected


# The same of images: one of alice, two of mallory, all of one size, which stands for 1 here.
IMAGE_STATEMENTS = [
    ("UPDATE media_api_image SET size = size * 2", (2, 4)),
    ("UPDATE media_api_image SET trashed_at = now()", (1, 2)),
    ("UPDATE media_api_image SET owner_id = (SELECT min(id) FROM auth_user)", (3, 0)),
    ("DELETE FROM media_api_image WHERE name = 'some.jpg'", (0, 1)),
    ("DELETE FROM media_api_image", (0, 0)),
]


@pytest.mark.parametrize(("statement", "expected"), IMAGE_STATEMENTS)
def test_a_statement_about_images_of_many(
    alice: User, mallory: User, keep: Keep, statement: str, expected: tuple[int, int]
) -> None:
    size = keep(alice, name="some.jpg").size
    keep(mallory, name="some.jpg")
    keep(mallory)
    execute(statement)
    assert (used(alice), used(mallory)) == (expected[0] * size, expected[1] * size)


def test_many_are_written_with_one_statement(alice: User, mallory: User) -> None:
    at = database_now()
    Upload.objects.bulk_create(
        Upload(owner=owner, name="cat.jpg", size=size, content_type="image/jpeg", expires_at=at)
        for owner, size in [(mallory, 1), (alice, 20), (mallory, 300)]
    )
    assert (used(alice), used(mallory)) == (20, 301)


def test_what_is_rolled_back_was_never_used(alice: User) -> None:
    with transaction.atomic():
        announced(alice)
        assert used(alice) == 100
        transaction.set_rollback(True)
    assert used(alice) == 0


def test_a_deleted_owner_leaves_no_row(alice: User, mallory: User, keep: Keep) -> None:
    keep(alice)
    announced(alice)
    announced(mallory, 5)
    Quota.objects.create(owner=alice, size=10**6)
    alice.delete()
    assert list(Usage.objects.values_list("owner", "used")) == [(mallory.id, 5)]
    assert not Quota.objects.exists()


def test_the_migration_counts_what_is_there(alice: User, mallory: User, keep: Keep) -> None:
    keep(alice)
    announced(alice)
    announced(mallory, 5)
    announced(mallory, 7)
    Upload.objects.filter(size=7).update(state=Upload.State.EXPIRED)
    counted = list(Usage.objects.values_list("owner", "used"))
    Usage.objects.all().delete()
    execute(import_module("media_api.migrations.0004_usage").COUNT)
    assert sorted(Usage.objects.values_list("owner", "used")) == sorted(counted)
    Upload.objects.all().delete()
    assert used(mallory) == 0


def test_less_than_nothing_is_never_used(alice: User) -> None:
    announced(alice)
    with pytest.raises(IntegrityError):
        Usage.objects.update(used=-1)


# --- what is refused ------------------------------------------------------------------------------


def test_a_quota_is_used_to_its_last_byte(api: APIClient, alice: User, settings: Settings) -> None:
    settings.OWNER_QUOTA = 1000
    assert announce(api, b"", size=600).status_code == 201
    assert refusal(announce(api, b"", size=401)) == (403, "quota_exceeded")
    assert announce(api, b"", size=400).status_code == 201
    assert refusal(announce(api, b"", size=1)) == (403, "quota_exceeded")
    assert (Upload.objects.count(), used(alice)) == (2, 1000)
    Upload.objects.filter(size=400).delete()
    assert announce(api, b"", size=400).status_code == 201


def test_only_what_is_deleted_for_good_makes_room(
    api: APIClient, alice: User, keep: Keep, settings: Settings
) -> None:
    image = keep(alice)
    settings.OWNER_QUOTA = image.size
    api.delete(f"{API}/images/{image.id}")
    assert refusal(send(api, pictures.jpeg())) == (403, "quota_exceeded")
    api.delete(f"{API}/images/{image.id}?permanent=true")
    assert send(api, pictures.jpeg()).status_code == 202


def test_an_account_may_have_a_quota_of_its_own(
    alice: User, mallory: User, settings: Settings
) -> None:
    announced(alice, 10**8)  # without any quota there is no limit
    settings.OWNER_QUOTA = 500
    Quota.objects.create(owner=mallory, size=700)
    announced(mallory, 700)
    with pytest.raises(QuotaExceeded):
        announced(mallory, 1)
    with pytest.raises(QuotaExceeded):
        announced(alice, 1)
    Quota.objects.filter(owner=mallory).update(size=0)  # lost is nothing
    assert used(mallory) == 700
    Quota.objects.all().delete()
    Upload.objects.all().delete()
    announced(mallory, 500)


def test_a_quota_of_nothing_takes_nothing(api: APIClient, alice: User) -> None:
    Quota.objects.create(owner=alice, size=0)
    for answer in (
        announce(api, b"x"),
        send(api, pictures.jpeg()),
        send_bytes(api, pictures.jpeg()),
    ):
        assert refusal(answer) == (403, "quota_exceeded")
    assert not Upload.objects.exists()


class Unread(BytesIO):
    """A body that nobody may look at."""

    def read(self, *_: Any) -> bytes:
        raise AssertionError("the body was read")


def test_what_cannot_fit_is_refused_before_the_body_is_read(
    api: APIClient, alice: User, settings: Settings
) -> None:
    settings.OWNER_QUOTA = 10**6
    announced(alice, 900_000)
    for content_type in ("image/jpeg", "multipart/form-data; boundary=x"):
        environ: dict[str, Any] = {"wsgi.input": Unread(), "CONTENT_LENGTH": "200000"}
        answer = post_bytes(api, f"{API}/images", content_type=content_type, **environ)
        assert refusal(answer) == (403, "quota_exceeded")


def test_the_form_around_a_file_does_not_count(
    api: APIClient, alice: User, settings: Settings
) -> None:
    body = pictures.jpeg()
    settings.OWNER_QUOTA = len(body)
    assert send(api, body, tags=["pets"]).status_code == 202
    assert refusal(send(api, pictures.png())) == (403, "quota_exceeded")
    assert used(alice) == len(body)


# --- what is told ---------------------------------------------------------------------------------


def test_the_account_says_its_quota(api: APIClient, alice: User, settings: Settings) -> None:
    def told() -> tuple[int, int | None]:
        account = api.get(f"{API}/account").json()
        return account["used"], account["quota"]

    announced(alice)
    assert told() == (100, None)
    settings.OWNER_QUOTA = 5000
    assert told() == (100, 5000)
    Quota.objects.create(owner=alice, size=0)
    assert told() == (100, 0)


def test_the_account_is_not_counted_from_its_images(
    api: APIClient, alice: User, keep: Keep
) -> None:
    keep(alice)
    with CaptureQueriesContext(connection) as captured:
        api.get(f"{API}/account")
    assert not any("SUM(" in query["sql"] for query in captured)


@pytest.fixture
def pages(alice: User, storage: ImageStorage) -> Client:
    client = Client()
    client.force_login(alice)
    return client


def file(name: str, body: bytes) -> SimpleUploadedFile:
    return SimpleUploadedFile(name, body, "image/jpeg")


def test_the_account_page_says_what_is_left(pages: Client, alice: User, settings: Settings) -> None:
    def said() -> str:
        return pages.get("/account/").content.decode()

    announced(alice, 2_500_000)
    assert "No limit is set" in said()
    assert "<meter" not in said()
    settings.OWNER_QUOTA = 10_000_000
    assert '<meter max="10000000" value="2500000"' in said()
    assert "7.5 MB of 10.0 MB left." in said()
    settings.OWNER_QUOTA = 1_000_000
    assert "Nothing is left of 1.0 MB, so no new picture is taken." in said()


def test_a_form_keeps_the_pictures_that_have_room(
    pages: Client, alice: User, settings: Settings
) -> None:
    small, large = pictures.jpeg(), pictures.large(50_000)
    settings.OWNER_QUOTA = 2 * len(small)
    form = {"file": [file("1.jpg", small), file("2.jpg", large), file("3.jpg", small)]}
    said = pages.post("/upload/", form, follow=True).content.decode()
    assert "2.jpg was not kept. There is no room for it in this account" in said
    assert "2 pictures have arrived." in said
    assert used(alice) == 2 * len(small)


def test_a_form_that_has_no_room_is_refused_before_it_is_read(
    pages: Client, alice: User, settings: Settings
) -> None:
    settings.OWNER_QUOTA = 3_000_000
    announced(alice, 1_000_000)
    environ: dict[str, Any] = {"wsgi.input": Unread(), "CONTENT_LENGTH": "9000000"}
    answer = pages.generic("POST", "/upload/", content_type="multipart/form-data", **environ)
    assert answer.status_code == 403
    assert b"There is no room for that" in answer.content
    settings.OWNER_QUOTA = 1_000_000
    environ["CONTENT_LENGTH"] = "500"
    answer = pages.generic("POST", "/upload/", content_type="multipart/form-data", **environ)
    assert answer.status_code == 403


# --- all at once ----------------------------------------------------------------------------------


def in_thread(act: Callable[[], Any]) -> Any:
    try:
        return act()
    finally:
        connections.close_all()


def test_of_many_at_once_exactly_so_many_fit(
    alice: User, mallory: User, settings: Settings
) -> None:
    settings.OWNER_QUOTA = 750
    together = threading.Barrier(16)

    def accepted(owner: User) -> bool:
        together.wait()
        try:
            announced(owner)
        except QuotaExceeded:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        futures = [
            pool.submit(in_thread, partial(accepted, owner)) for owner in 8 * [alice, mallory]
        ]
    assert sum(future.result() for future in futures) == 14
    assert (used(alice), used(mallory)) == (700, 700)


def test_an_owner_does_not_wait_for_another(alice: User, mallory: User) -> None:
    announced(alice)
    announced(mallory)

    def announce_beside(owner: User) -> Upload:
        execute("SET lock_timeout = '500ms'")
        return announced(owner)

    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        announced(alice)
        pool.submit(in_thread, lambda: announce_beside(mallory)).result()
        alices = pool.submit(in_thread, lambda: announce_beside(alice))
        with pytest.raises(OperationalError, match="lock timeout"):
            alices.result()


def test_what_changes_no_sum_waits_for_nobody(alice: User, keep: Keep) -> None:
    """Not even for a transaction of the same owner."""
    image, upload = keep(alice), announced(alice)

    def change() -> None:
        execute("SET lock_timeout = '500ms'")
        images.change(image, name="other")
        images.trash(Image.objects.filter(id=image.id))
        uploads.mark_staged(upload)

    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        announced(alice)
        pool.submit(in_thread, change).result()


def test_an_announcement_asks_little_of_the_database(alice: User, settings: Settings) -> None:
    settings.OWNER_QUOTA = 10**6
    announced(alice)
    with CaptureQueriesContext(connection) as captured:
        announced(alice)
    said = [query["sql"].split()[0] for query in captured]
    assert said == ["BEGIN", "INSERT", "SELECT", "COMMIT"]


PROCESSES, ATTEMPTS, ROOM = 4, 396, 150


def test_a_thousand_uploads_at_once_and_kills(
    alice: User, mallory: User, settings: Settings, tmp_path: Path
) -> None:
    """Processes use space and give it back in every way; half of them are killed, and connections of all are cut."""
    settings.OWNER_QUOTA = ROOM * busy.SIZE
    outputs = [tmp_path / str(number) for number in range(PROCESSES)]
    processes = [start_busy(number, output) for number, output in enumerate(outputs)]
    try:
        while any(process.poll() is None for process in processes):
            if all(said([output]) for output in outputs):
                cut_a_connection()
            used_now = Usage.objects.values_list("used", flat=True)
            assert max(used_now, default=0) <= settings.OWNER_QUOTA
            for process, output in zip(processes[:2], outputs[:2], strict=True):
                if len(said([output])) > ATTEMPTS // 3:
                    process.kill()
            time.sleep(0.05)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    wait_until(lambda: not busy_connections())
    assert [process.returncode for process in processes] == 2 * [-signal.SIGKILL] + 2 * [0]
    lines = said(outputs)
    assert len(lines) > 1000
    assert {line.partition(":")[0] for line in lines} == {"announced", "quota_exceeded", "cut"}
    assert not any("deadlock" in line for line in lines)

    for owner in (alice, mallory):
        assert used(owner) == what_there_is(owner)
        while used(owner) < settings.OWNER_QUOTA:
            announced(owner, busy.SIZE)
        with pytest.raises(QuotaExceeded):
            announced(owner, 1)
        assert Upload.objects.of(owner).living().count() + Image.objects.of(owner).count() == ROOM


def start_busy(number: int, output: Path) -> "subprocess.Popen[bytes]":
    database = f"/{connection.settings_dict['NAME']}"
    environment = {
        **os.environ,
        "DATABASE_URL": urlsplit(os.environ["DATABASE_URL"])._replace(path=database).geturl(),
        "DJANGO_SETTINGS_MODULE": "project.settings",
        "LOG_LEVEL": "CRITICAL",
        "OWNER_QUOTA": str(ROOM * busy.SIZE),
        "PGAPPNAME": "busy",
    }
    command = [sys.executable, "-m", "tests.busy", str(number), str(ATTEMPTS), "alice", "mallory"]
    with output.open("wb") as file:
        return subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)


def said(outputs: list[Path]) -> list[str]:
    return [line for output in outputs for line in output.read_text().splitlines()]


def busy_connections() -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'busy' ORDER BY random()"
        )
        return [pid for (pid,) in cursor.fetchall()]


def cut_a_connection() -> None:
    for pid in busy_connections()[:1]:
        execute("SELECT pg_terminate_backend(%s)", pid)


def what_there_is(owner: User) -> int:
    living, kept = Upload.objects.of(owner).living(), Image.objects.of(owner)
    return sum(row.size for rows in (living, kept) for row in rows)
