"""Into the trash, out of it, gone for good: whoever deletes a row, the objects follow."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection, connections, transaction
from procrastinate.contrib.django.models import ProcrastinateJob
from rest_framework.test import APIClient

from media_api import images, sweeps
from media_api.exceptions import ForeignBucket, StorageUnavailable
from media_api.models import Image, Installation, PendingDeletion, Upload, database_now, uuid7
from media_api.queue import enqueue
from media_api.storage import EPOCH_KEY, ImageStorage
from tests import faulty, pictures
from tests.conftest import Work, objects, store_down, stored_on
from tests.faulty import Exchange, Faulty
from tests.sending import API, announce, put, read, refusal, send, send_directly
from tests.services import Store

Keep = Callable[..., Image]


def an_hour_later() -> None:
    PendingDeletion.objects.update(due_at=database_now() - timedelta(seconds=1))


def sql(statement: str, *arguments: Any) -> None:
    """What a person types into psql."""
    with connection.cursor() as cursor:
        cursor.execute(statement, arguments)


def test_an_image_goes_into_the_trash_and_back(api: APIClient, alice: User, keep: Keep) -> None:
    image = keep(alice)
    address = f"{API}/images/{image.id}"
    assert api.delete(address).status_code == 204
    trashed = read(api, str(image.id))
    assert trashed["trashed_at"]
    assert httpx2.get(trashed["original"]["url"]).status_code == 200
    assert api.get(f"{address}/content").status_code == 302
    assert api.get(f"{API}/images").json()["results"] == []
    assert [row["id"] for row in api.get(f"{API}/images/trash").json()["results"]] == [
        str(image.id)
    ]

    restored = api.post(f"{address}/restore")
    assert (restored.status_code, restored.json()["trashed_at"]) == (200, None)
    assert api.get(f"{API}/images/trash").json()["results"] == []
    assert len(api.get(f"{API}/images").json()["results"]) == 1


def test_both_may_be_repeated(api: APIClient, alice: User, keep: Keep) -> None:
    address = f"{API}/images/{keep(alice).id}"
    assert api.post(f"{address}/restore").status_code == 200
    api.delete(address)
    trashed_at = api.get(address).json()["trashed_at"]
    assert api.delete(address).status_code == 204
    assert api.get(address).json()["trashed_at"] == trashed_at


def test_a_move_to_the_trash_is_a_new_version(api: APIClient, alice: User, keep: Keep) -> None:
    address = f"{API}/images/{keep(alice).id}"
    etags = [api.get(address)["ETag"]]
    api.delete(address)
    etags.append(api.get(address)["ETag"])
    api.post(f"{address}/restore")
    etags.append(api.get(address)["ETag"])
    assert len(set(etags)) == 3


@pytest.mark.parametrize("trashed_before", [False, True])
def test_an_image_is_gone_for_good(
    api: APIClient,
    alice: User,
    keep: Keep,
    work: Work,
    storage: ImageStorage,
    trashed_before: bool,
) -> None:
    image = keep(alice)
    links = read(api, str(image.id))
    address = f"{API}/images/{image.id}"
    if trashed_before:
        api.delete(address)
    assert api.delete(f"{address}?permanent=true").status_code == 204
    for answer in api.get(address), api.get(f"{address}/content"), api.post(f"{address}/restore"):
        assert refusal(answer) == (404, "not_found")
    work()
    assert httpx2.get(links["original"]["url"]).status_code == 404
    assert httpx2.get(links["renditions"][0]["url"]).status_code == 404
    assert objects(storage) == []


def test_the_trash_is_emptied_by_the_clock(
    api: APIClient, alice: User, keep: Keep, work: Work, storage: ImageStorage
) -> None:
    old, young, present = keep(alice), keep(alice), keep(alice)
    Image.objects.filter(id=old.id).update(
        trashed_at=database_now() - timedelta(days=30, seconds=1)
    )
    Image.objects.filter(id=young.id).update(trashed_at=database_now() - timedelta(days=29))
    assert images.empty_old_trash() == 1
    assert set(Image.objects.all()) == {young, present}
    work()
    assert not [key for key in objects(storage) if str(old.id) in key]


def test_what_is_restored_while_the_trash_is_emptied_stays(
    storage: ImageStorage, alice: User, keep: Keep
) -> None:
    """The owner's transaction is open when the sweep comes by; the sweep waits for the row and looks again."""
    image = keep(alice)
    Image.objects.update(trashed_at=database_now() - timedelta(days=31))
    deleted: list[int] = []

    def sweep() -> None:
        deleted.append(images.empty_old_trash())
        connections.close_all()

    thread = threading.Thread(target=sweep)
    with transaction.atomic():
        images.restore(Image.objects.filter(id=image.id))
        thread.start()
        waiting_for_a_row()
    thread.join()
    assert deleted == [0]
    assert Image.objects.filter(id=image.id).exists()


def waiting_for_a_row() -> None:
    """Return when another connection waits for a lock of ours."""
    with connection.cursor() as cursor:
        for _ in range(500):
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone()[0]:
                return
            threading.Event().wait(0.01)
    raise AssertionError("nobody waits")


# --- whoever deletes a row ------------------------------------------------------------------------


def by_api(image: Image, api: APIClient) -> None:
    api.delete(f"{API}/images/{image.id}?permanent=true")


def by_queryset(image: Image, api: APIClient) -> None:
    Image.objects.filter(id=image.id).delete()


def by_instance(image: Image, api: APIClient) -> None:
    image.delete()


def by_deleting_the_owner(image: Image, api: APIClient) -> None:
    image.owner.delete()


def by_hand(image: Image, api: APIClient) -> None:
    sql("DELETE FROM media_api_image WHERE id = %s", image.id)


def by_deleting_the_owner_by_hand(image: Image, api: APIClient) -> None:
    sql("DELETE FROM auth_user WHERE id = %s", image.owner_id)


WAYS = [
    by_api,
    by_queryset,
    by_instance,
    by_deleting_the_owner,
    by_hand,
    by_deleting_the_owner_by_hand,
]


@pytest.mark.parametrize("way", WAYS)
def test_the_objects_follow_the_row(
    api: APIClient,
    alice: User,
    mallory: User,
    keep: Keep,
    storage: ImageStorage,
    way: Callable[[Image, APIClient], None],
) -> None:
    image, other = keep(alice, pictures.jpeg(700, 500, comment=b"of a day in May")), keep(mallory)
    image_id, link = image.id, read(api, str(image.id))["original"]["url"]
    own = set(storage.keys(f"images/{image_id}/"))
    assert len(own) == 5  # two renditions, a stripped copy
    way(image, api)
    pending = PendingDeletion.objects.get()
    assert (pending.id, set(pending.keys)) == (image_id, own)
    images.purge_due()
    assert httpx2.get(link).status_code == 404
    assert {key.split("/")[1] for key in objects(storage)} == {str(other.id)}


def test_many_deleted_by_one_statement_are_all_written_down(alice: User, keep: Keep) -> None:
    ids = {keep(alice).id for _ in range(3)}
    sql("DELETE FROM media_api_image")
    assert {pending.id for pending in PendingDeletion.objects.all()} == ids


def test_a_deletion_is_written_in_the_same_transaction(alice: User, keep: Keep) -> None:
    keep(alice)
    with transaction.atomic():
        Image.objects.all().delete()
        assert PendingDeletion.objects.count() == 1
        transaction.set_rollback(True)
    assert not PendingDeletion.objects.exists()
    assert Image.objects.count() == 1


def test_a_deletion_is_noticed_even_if_it_was_noticed_before(
    alice: User, keep: Keep, storage: ImageStorage
) -> None:
    """Rows put back from a backup and deleted again: the second look of the first time does not count."""
    image = keep(alice)
    Image.objects.all().delete()
    images.purge_due()
    assert PendingDeletion.objects.get().removed_at
    image.save(force_insert=True)
    storage.keep(image.path, b"x", content_type="image/jpeg")
    Image.objects.all().delete()
    assert PendingDeletion.objects.get().removed_at is None
    images.purge_due()
    assert objects(storage) == []


@pytest.mark.parametrize("ending", ["deleted", "refused", "expired"])
def test_an_upload_that_ends_without_an_image_is_written_down(api: APIClient, ending: str) -> None:
    """A worker that was paused may have written under `images/` before, and may write after."""
    upload = Upload.objects.get(id=send_directly(api, pictures.jpeg()).json()["id"])
    if ending == "deleted":
        sql("DELETE FROM media_api_upload")
    elif ending == "refused":
        sql("UPDATE media_api_upload SET state = 'refused', error_code = 'empty'")
    else:
        sql("UPDATE media_api_upload SET state = 'expired'")
    assert PendingDeletion.objects.get().id == upload.id


@pytest.mark.parametrize(
    "endings",
    [
        ["DELETE FROM media_api_upload"],
        ["UPDATE media_api_upload SET state = 'expired'", "DELETE FROM media_api_upload"],
    ],
)
def test_one_that_ends_before_it_is_staged_is_not(api: APIClient, endings: list[str]) -> None:
    """No worker ever looked at it, so there is nothing of it under `images/`."""
    announce(api, pictures.jpeg())
    for ending in endings:
        sql(ending)
    assert not Upload.objects.filter(state=Upload.State.ANNOUNCED).exists()
    assert not PendingDeletion.objects.exists()


def test_an_upload_that_is_kept_is_not(alice: User, keep: Keep) -> None:
    keep(alice)
    assert not PendingDeletion.objects.exists()


def test_a_refusal_that_is_forgotten_is_written_down_again(api: APIClient, work: Work) -> None:
    send(api, b"no picture")
    work()
    sql("DELETE FROM media_api_pendingdeletion")
    Upload.objects.all().delete()
    assert PendingDeletion.objects.count() == 1


# --- purges ---------------------------------------------------------------------------------------


def test_a_purge_looks_twice(alice: User, keep: Keep, storage: ImageStorage) -> None:
    image_id = keep(alice).id
    Image.objects.all().delete()
    images.purge_due()
    pending = PendingDeletion.objects.get()
    assert pending.removed_at
    assert timedelta(minutes=59) < pending.due_at - database_now() <= timedelta(hours=1)
    images.purge_due()  # not due
    assert PendingDeletion.objects.exists()

    storage.keep(f"images/{image_id}/320.webp", b"late", content_type="image/webp")
    an_hour_later()
    images.purge_due()
    assert objects(storage) == []
    assert PendingDeletion.objects.exists()  # something was found, so once more
    an_hour_later()
    images.purge_due()
    assert not PendingDeletion.objects.exists()


def test_a_permanent_delete_is_purged_by_a_job(
    api: APIClient, alice: User, keep: Keep, work: Work
) -> None:
    image = keep(alice)
    api.delete(f"{API}/images/{image.id}?permanent=true")
    (job,) = ProcrastinateJob.objects.filter(task_name="purge")
    assert job.args["image_ids"] == [str(image.id)]


def test_a_job_from_before_the_upgrade_is_done(
    alice: User, keep: Keep, work: Work, storage: ImageStorage
) -> None:
    """Then each image had its own."""
    image = keep(alice)
    sql("DELETE FROM media_api_image")
    enqueue("purge", "image_id", [image.id])
    work()
    assert objects(storage) == []
    assert not ProcrastinateJob.objects.exists()


def test_what_the_bucket_keeps_back_is_asked_about_again_and_the_rest_does_not_wait(
    alice: User, keep: Keep, storage: ImageStorage, rclone: Store
) -> None:
    kept_back, removed = keep(alice, pictures.png()).id, keep(alice).id
    Image.objects.all().delete()
    proxy = Faulty(rclone)
    with stored_on(proxy.seen), proxy.failing(faulty.png_kept_back, removing):
        with pytest.raises(StorageUnavailable):
            images.purge_due()
        assert images.purge_due() == 0
    proxy.close()
    pending = {row.id: row for row in PendingDeletion.objects.all()}
    assert pending[removed].removed_at
    assert pending[kept_back].removed_at is None
    assert timedelta() < pending[kept_back].due_at - database_now() < timedelta(minutes=1)
    an_hour_later()
    images.purge_due()
    assert objects(storage) == []


def removing(exchange: Exchange) -> bool:
    return exchange.command == "POST"


def test_what_has_a_row_is_not_purged(
    api: APIClient, alice: User, keep: Keep, storage: ImageStorage
) -> None:
    image = keep(alice)
    upload_id = send_directly(api, pictures.jpeg()).json()["id"]
    storage.keep(f"images/{upload_id}/original.jpg", b"x", content_type="image/jpeg")
    before = objects(storage)
    for wanted in image.id, upload_id:
        sql("INSERT INTO media_api_pendingdeletion (id) VALUES (%s)", wanted)
    images.purge_due()
    assert objects(storage) == before
    assert PendingDeletion.objects.count() == 2
    assert images.purge_due() == 0  # they do not stand in the way of others


def test_a_purge_waits_for_the_store(
    api: APIClient, alice: User, keep: Keep, work: Work, storage: ImageStorage
) -> None:
    image = keep(alice)
    with store_down():
        assert api.delete(f"{API}/images/{image.id}?permanent=true").status_code == 204
        work()
    assert ProcrastinateJob.objects.get(task_name="purge").status == "todo"
    assert len(objects(storage)) == 3
    images.purge_due()
    assert objects(storage) == []


def test_a_purge_of_nothing_is_fine(storage: ImageStorage) -> None:
    images.purge([uuid7()])
    assert images.purge_due() == 0


# --- sweeps ---------------------------------------------------------------------------------------


def test_the_sweep_removes_what_no_living_upload_explains(
    api: APIClient, work: Work, storage: ImageStorage
) -> None:
    body = pictures.jpeg()
    announced, staged = announce(api, body).json(), send_directly(api, body).json()
    put(announced, body)
    orphan, foreign = f"staging/{uuid7()}", "staging/not-an-id"
    for key in orphan, foreign:
        storage.keep(key, b"x", content_type="image/jpeg")
    assert sweeps.sweep_staging() == 2
    assert set(objects(storage)) == {f"staging/{announced['id']}", f"staging/{staged['id']}"}
    work()
    assert read(api, staged["id"])
    assert sweeps.sweep_staging() == 0


def test_the_sweep_removes_what_came_after_the_end(
    api: APIClient, work: Work, storage: ImageStorage
) -> None:
    """The URL of a PUT lives on after the verdict."""
    body = b"no picture"
    upload = announce(api, body).json()
    put(upload, body)
    api.post(f"{API}/uploads/{upload['id']}/complete?wait=0")
    work()
    assert put(upload, body).status_code == 200
    assert objects(storage) == [f"staging/{upload['id']}"]
    assert sweeps.sweep_staging() == 1
    assert objects(storage) == []


def test_the_sweep_ends_parts_that_nobody_owns(api: APIClient, store: Store, settings: Any) -> None:
    settings.PART_THRESHOLD = 10_000
    with stored_on(store) as storage:
        storage.remove(list(storage.keys("")))
        storage.keep(
            EPOCH_KEY, str(Installation.objects.get().epoch).encode(), content_type="text/plain"
        )
        living = announce(api, b"x" * 20_000).json()
        orphan = f"staging/{uuid7()}"
        storage.begin_parts(orphan, content_type="image/jpeg")
        sweeps.sweep_staging()
        assert [key for key, _ in storage.open_parts()] == [f"staging/{living['id']}"]
        assert storage.open_parts(orphan) == []
        Upload.objects.all().delete()
        sweeps.sweep_staging()
        assert storage.open_parts() == []


def test_sweeps_leave_the_bucket_of_another_installation(
    api: APIClient, alice: User, keep: Keep, storage: ImageStorage
) -> None:
    keep(alice).delete()
    storage.keep("staging/theirs", b"x", content_type="image/jpeg")
    before = objects(storage)
    storage.keep(EPOCH_KEY, b"another", content_type="text/plain")
    for sweep in sweeps.sweep_staging, images.purge_due:
        with pytest.raises(ForeignBucket):
            sweep()
    assert objects(storage) == before


def test_sweeps_leave_a_bucket_that_nobody_claimed(
    alice: User, keep: Keep, storage: ImageStorage
) -> None:
    keep(alice).delete()
    storage.remove([EPOCH_KEY])
    before = objects(storage)
    for sweep in sweeps.sweep_staging, images.purge_due:
        with pytest.raises(FileNotFoundError):
            sweep()
    assert objects(storage) == before


def test_sweeps_may_run_twice_at_once(
    api: APIClient, alice: User, keep: Keep, storage: ImageStorage
) -> None:
    for _ in range(4):
        keep(alice).delete()
        storage.keep(f"staging/{uuid7()}", b"x", content_type="image/jpeg")
        put(announce(api, b"x").json(), b"x")
    Upload.objects.update(expires_at=database_now() - timedelta(seconds=1))
    faults: list[BaseException] = []

    def sweep() -> None:
        try:
            for work in sweeps.expire_overdue, sweeps.sweep_staging, images.purge_due:
                work()
        except BaseException as fault:
            faults.append(fault)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=sweep) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert objects(storage) == []
    assert {upload.state for upload in Upload.objects.all()} == {"expired"}


def test_without_the_store_sweeps_wait(alice: User, keep: Keep, storage: ImageStorage) -> None:
    keep(alice).delete()
    with store_down():
        for sweep in sweeps.sweep_staging, images.purge_due:
            with pytest.raises(StorageUnavailable):
                sweep()
    images.purge_due()
    assert objects(storage) == []


def test_the_command_sweeps_at_once(
    api: APIClient,
    alice: User,
    keep: Keep,
    storage: ImageStorage,
    capsys: pytest.CaptureFixture[str],
) -> None:
    keep(alice).delete()
    storage.keep(f"staging/{uuid7()}", b"x", content_type="image/jpeg")
    call_command("purge")
    assert "1 objects removed from staging/" in capsys.readouterr().out
    assert objects(storage) == []
