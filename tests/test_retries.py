"""An upload that cannot be examined by no fault of its own: it is tried for long enough, set aside where everybody sees
it, keeps its bytes, and is tried again when an operator says so. The others do not wait for it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import httpx2
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection
from django.db.migrations.executor import MigrationExecutor
from django.test import Client
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateJob
from rest_framework.test import APIClient

from media_api import examination, retries, sweeps, verdicts
from media_api.examination import MAX_ATTEMPTS
from media_api.models import Image, PendingDeletion, Upload, database_now, uuid7
from media_api.queue import enqueue
from media_api.storage import ImageStorage
from tests import pictures
from tests.conftest import Work, objects, store_down
from tests.sending import API, complete, read, send
from tests.test_imports import ROOT

Keep = Callable[..., Image]

CURSED = "cursed.jpg"
LONG = 25  # seconds, that nobody is to wait for


def sql(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


@contextmanager
def cursed() -> Iterator[None]:
    """A fault of ours: no image of this name can be kept."""
    sql(f"ALTER TABLE media_api_image ADD CONSTRAINT curse CHECK (name <> '{CURSED}')")
    try:
        yield
    finally:
        sql("ALTER TABLE media_api_image DROP CONSTRAINT curse")


@pytest.fixture
def work_on(work: Work) -> Callable[[int], None]:
    """So many rounds of the worker, each when all that waits for its next try is due."""

    def work_on(rounds: int) -> None:
        for _ in range(rounds):
            sql("UPDATE procrastinate_jobs SET scheduled_at = NULL")
            work()

    return work_on


@pytest.fixture
def aside(api: APIClient) -> str:
    """The id of an upload that was set aside; the fault is mended."""
    with cursed():
        upload_id: str = send(api, pictures.jpeg(), name=CURSED).json()["id"]
        fail(upload_id, MAX_ATTEMPTS)
        sql("TRUNCATE procrastinate_jobs CASCADE")
    return upload_id


def fail(upload_id: str, times: int) -> None:
    for _ in range(times - 1):
        with pytest.raises(IntegrityError):
            examination.examine(UUID(upload_id))
    examination.examine(UUID(upload_id))


def retry(*ids: object) -> str:
    said = StringIO()
    call_command("retry", *map(str, ids), stdout=said)
    return said.getvalue()


# --- it stops ---------------------------------------------------------------------------------------


def test_what_fails_by_our_fault_is_tried_ten_times_and_set_aside(
    api: APIClient, storage: ImageStorage, work_on: Callable[[int], None]
) -> None:
    body = pictures.jpeg()
    with cursed():
        upload_id = send(api, body, name=CURSED).json()["id"]
        work_on(MAX_ATTEMPTS - 1)
        assert Upload.objects.waiting().get().attempts == MAX_ATTEMPTS - 1
        work_on(1)
        assert Upload.objects.set_aside().get().attempts == MAX_ATTEMPTS
        assert not ProcrastinateJob.objects.exists()
        examination.examine(UUID(upload_id))  # a late one of another worker
    assert Upload.objects.set_aside().get().attempts == MAX_ATTEMPTS
    assert retry() == "Uploads that are tried again: 1.\nJobs that are tried again: 0.\n"
    work_on(1)
    assert httpx2.get(read(api, upload_id)["original"]["url"]).content == body


def test_others_do_not_wait_for_it(
    api: APIClient, stranger: APIClient, work: Work, work_on: Callable[[int], None]
) -> None:
    """It is first in the queue, again and again; each round does all that came meanwhile, and its time is not due."""
    with cursed():
        send(api, pictures.jpeg(), name=CURSED)
        for _ in range(MAX_ATTEMPTS):
            others = {send(each, pictures.jpeg()).json()["id"] for each in (api, stranger)}
            work_on(1)
            assert Image.objects.filter(id__in=others).count() == 2
        began = time.monotonic()
        other = send(api, pictures.jpeg()).json()["id"]
        work()
        assert time.monotonic() - began < 5
    assert Image.objects.filter(id=other).exists()


def test_an_outage_is_waited_for_and_never_counted(
    api: APIClient, work: Work, work_on: Callable[[int], None]
) -> None:
    upload_id = send(api, pictures.jpeg()).json()["id"]
    with store_down():
        work_on(3)
    (job,) = ProcrastinateJob.objects.all()
    assert (job.status, job.attempts) == ("todo", 3)
    assert Upload.objects.get().attempts == 0
    sql("UPDATE procrastinate_jobs SET attempts = 1000, scheduled_at = NULL")
    with store_down():
        work()
    work_on(1)
    read(api, upload_id)


FALLS = """
import os, sys, uuid
from pathlib import Path
import django
django.setup()
from media_api import examination, faults
faults.folder = Path(sys.argv[1])
for _ in range(int(sys.argv[3])):
    (faults.folder / "in_the_cage").write_text("kill 1")
    if not (pid := os.fork()):
        examination.examine(uuid.UUID(sys.argv[2]))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def kill_workers(upload_id: str, plans: Path, times: int) -> None:
    """So many workers die while they decode it."""
    database = f"/{connection.settings_dict['NAME']}"
    address = urlsplit(os.environ["DATABASE_URL"])._replace(path=database).geturl()
    killed = subprocess.run(
        [sys.executable, "-c", FALLS, plans, upload_id, str(times)],
        env=os.environ | {"DATABASE_URL": address},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert killed.stdout.split() == ["-9"] * times


def test_a_good_picture_is_kept_after_nine_workers_were_killed(
    api: APIClient, work: Work, tmp_path: Path
) -> None:
    body = pictures.jpeg()
    upload_id = send(api, body).json()["id"]
    kill_workers(upload_id, tmp_path, MAX_ATTEMPTS - 1)
    assert Upload.objects.get().attempts == MAX_ATTEMPTS - 1
    work()
    assert httpx2.get(read(api, upload_id)["original"]["url"]).content == body


def test_a_picture_that_kills_every_worker_is_set_aside(
    api: APIClient, work: Work, tmp_path: Path
) -> None:
    upload_id = send(api, pictures.jpeg()).json()["id"]
    kill_workers(upload_id, tmp_path, MAX_ATTEMPTS)
    work()
    upload = Upload.objects.set_aside().get()
    assert upload.error_detail == examination.NEVER_ENDED
    assert not ProcrastinateJob.objects.exists()
    retry(upload_id)
    work()
    read(api, upload_id)


# --- it is seen -------------------------------------------------------------------------------------


def test_the_api_says_so_and_nobody_waits_in_vain(api: APIClient, aside: str) -> None:
    told = {"code": "internal", "detail": examination.FAILED}
    began = time.monotonic()
    completed = complete(api, aside, wait=LONG)
    verdicts.wait(UUID(aside), seconds=LONG)
    assert time.monotonic() - began < LONG / 2
    assert (completed.status_code, completed.json()["error"]) == (202, told)
    assert completed["Location"].endswith(f"/api/v1/uploads/{aside}")
    asked = api.get(f"{API}/uploads/{aside}").json()
    assert (asked["state"], asked["error"]) == ("staged", told)
    (listed,) = api.get(f"{API}/uploads?state=staged").json()["results"]
    assert (listed["id"], listed["error"]) == (aside, told)


def test_its_pages_say_so_and_do_not_ask_again_and_again(
    client: Client, alice: User, aside: str
) -> None:
    client.force_login(alice)
    for address in "/uploads/", f"/uploads/{aside}/":
        page = client.get(address).content.decode()
        assert "Its bytes are safe and need not be sent again" in page
        assert "Withdraw" in page
        assert "Choose it again" not in page
        assert "data-waiting" not in page


def test_metrics_count_it(client: Client, aside: str) -> None:
    assert b"shoebox_set_aside_uploads 1.0" in client.get("/metrics").content


def test_staff_finds_it_and_has_it_tried_again(aside: str, api: APIClient, work: Work) -> None:
    send(api, pictures.jpeg(), name="other.jpg")
    User.objects.create_superuser("root", password="wonderland-9")
    staff = Client()
    staff.login(username="root", password="wonderland-9")
    page = staff.get("/admin/media_api/upload/?error_code=internal").content.decode()
    assert CURSED in page
    assert "other.jpg" not in page
    page = staff.get(f"/admin/media_api/upload/{aside}/change/").content.decode()
    assert examination.FAILED in page
    form = {
        "action": "try_again",
        "_selected_action": list(Upload.objects.values_list("id", flat=True)),
    }
    answer = staff.post("/admin/media_api/upload/", form, follow=True)
    assert "Uploads that are tried again: 1." in answer.content.decode()
    work()
    assert Image.objects.count() == 2


def test_staff_that_may_only_look_cannot_have_it_tried_again(alice: User, aside: str) -> None:
    alice.is_staff = True
    alice.save()
    sql(
        "INSERT INTO auth_permission (name, codename, content_type_id) SELECT 'look', 'view_upload', id"
        " FROM django_content_type WHERE model = 'upload'"
    )
    staff = Client()
    staff.force_login(alice)
    staff.post("/admin/media_api/upload/", {"action": "try_again", "_selected_action": [aside]})
    assert Upload.objects.set_aside().count() == 1


# --- nothing is lost --------------------------------------------------------------------------------


def test_no_sweep_touches_it_and_it_counts(
    api: APIClient, aside: str, storage: ImageStorage, work: Work
) -> None:
    used = api.get(f"{API}/account").json()["used"]
    Upload.objects.update(expires_at=database_now().replace(year=2000))
    for sweep in (sweeps.expire_overdue, sweeps.sweep_staging, retries.enqueue_forgotten):
        assert sweep() == 0
    work()
    assert used == api.get(f"{API}/account").json()["used"] > 0
    assert f"staging/{aside}" in objects(storage)
    assert Upload.objects.set_aside().count() == 1


def test_its_owner_may_withdraw_it(api: APIClient, aside: str, storage: ImageStorage) -> None:
    assert api.delete(f"{API}/uploads/{aside}").status_code == 204
    assert f"staging/{aside}" not in objects(storage)


def test_what_lost_its_job_gets_one_by_the_clock(api: APIClient, work: Work) -> None:
    """An operator has emptied the queue."""
    lost = [send(api, pictures.jpeg()).json()["id"] for _ in range(3)]
    sql("TRUNCATE procrastinate_jobs CASCADE")
    has_one = send(api, pictures.jpeg()).json()["id"]
    app.configure_task("enqueue_forgotten").defer(timestamp=0)
    work()
    assert {str(image.id) for image in Image.objects.all()} == {has_one, *lost}
    assert not ProcrastinateJob.objects.exists()


@pytest.mark.parametrize("status", ["failed", "cancelled", "aborted"])
def test_a_job_that_is_over_is_none(api: APIClient, status: str) -> None:
    send(api, pictures.jpeg())
    sql(f"UPDATE procrastinate_jobs SET status = '{status}'")
    assert (retries.enqueue_forgotten(), retries.enqueue_forgotten()) == (1, 0)


def test_what_has_a_job_gets_no_other(api: APIClient) -> None:
    send(api, pictures.jpeg())
    assert (retries.enqueue_forgotten(), retries.retry()) == (0, 0)
    sql("UPDATE procrastinate_jobs SET status = 'doing'")
    assert (retries.enqueue_forgotten(), retries.retry()) == (0, 0)


def test_more_than_a_batch(
    alice: User, storage: ImageStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "BATCH", 2)
    now = database_now()
    Upload.objects.bulk_create(
        Upload(owner=alice, name="x", size=1, state="staged", staged_at=now, expires_at=now)
        for _ in range(5)
    )
    assert retries.enqueue_forgotten() == 5
    assert ProcrastinateJob.objects.count() == 5


def test_older_code_has_it_waiting_again(aside: str) -> None:
    """Migrated back and forth, its row says what is true then: it waits, and its job was lost."""
    newest = MigrationExecutor(connection).loader.graph.leaf_nodes("media_api")
    MigrationExecutor(connection).migrate([("media_api", "0008_damage")])
    MigrationExecutor(connection).migrate(newest)
    assert Upload.objects.waiting().count() == 1
    assert retries.enqueue_forgotten() == 1


# --- it is tried again ------------------------------------------------------------------------------


def test_it_begins_anew(api: APIClient, aside: str) -> None:
    Upload.objects.update(crashes=2)
    retry(aside)
    upload = Upload.objects.waiting().get()
    assert (upload.attempts, upload.crashes, upload.error_detail) == (0, 0, "")
    assert ProcrastinateJob.objects.get().args["upload_id"] == aside


def test_one_of_several_is_tried_again(api: APIClient, aside: str) -> None:
    with cursed():
        other = send(api, pictures.jpeg(), name=CURSED).json()["id"]
        fail(other, MAX_ATTEMPTS)
    sql("TRUNCATE procrastinate_jobs CASCADE")
    assert retry(other) == "Uploads that are tried again: 1.\n"
    assert [str(upload.id) for upload in Upload.objects.set_aside()] == [aside]


def test_the_command_may_be_repeated(api: APIClient, aside: str) -> None:
    assert retry(aside) == "Uploads that are tried again: 1.\n"
    assert retry(aside) == "Uploads that are tried again: 0.\n"
    assert ProcrastinateJob.objects.count() == 1


def test_the_command_names_what_is_no_staged_upload(
    api: APIClient, alice: User, aside: str, keep: Keep
) -> None:
    image, nothing = keep(alice).id, uuid7()
    with pytest.raises(CommandError) as said:
        retry(aside, image, nothing)
    assert str(said.value) == f"No staged upload: {image}, {nothing}."
    assert Upload.objects.waiting().count() == 1


# --- the other jobs ---------------------------------------------------------------------------------


def test_other_jobs_are_given_up_after_ten_tries_and_tried_again(
    alice: User, keep: Keep, work_on: Callable[[int], None], storage: ImageStorage
) -> None:
    image = keep(alice)
    key = f"images/{image.id}/image.json"
    storage.remove([key])
    enqueue("describe", "image_id", [image.id])
    sql("ALTER TABLE media_api_image RENAME COLUMN name TO label")
    try:
        work_on(9)
        assert ProcrastinateJob.objects.get().status == "todo"
        work_on(1)
        assert ProcrastinateJob.objects.get().status == "failed"
    finally:
        sql("ALTER TABLE media_api_image RENAME COLUMN label TO name")
    assert retry() == "Uploads that are tried again: 0.\nJobs that are tried again: 1.\n"
    work_on(1)
    assert not ProcrastinateJob.objects.exists()
    assert storage.size_of(key)


def test_other_jobs_wait_for_the_end_of_an_outage(
    alice: User, keep: Keep, work_on: Callable[[int], None], storage: ImageStorage
) -> None:
    keep(alice).delete()
    (pending,) = PendingDeletion.objects.all()
    enqueue("purge", "image_id", [pending.id])
    with store_down():
        work_on(12)
    assert ProcrastinateJob.objects.get().status == "todo"
    work_on(1)
    assert objects(storage) == []


def test_what_the_clock_did_in_vain_leaves_no_job(alice: User, keep: Keep, work: Work) -> None:
    keep(alice).delete()
    app.configure_task("purge_due").defer(timestamp=0)
    with store_down():
        work()
    assert not ProcrastinateJob.objects.exists()
    assert PendingDeletion.objects.filter(removed_at=None).exists()
