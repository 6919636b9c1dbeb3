"""Each thing that can be wrong between rows and bucket is found, by its name, and nothing else is."""

import json
import threading
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from io import StringIO
from typing import Any

import httpx2
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.test import Client
from pytest_django import Settings
from rest_framework.test import APIClient

from media_api import adoption, damage, fsck, images, removal, sweeps
from media_api.epoch import claim_bucket
from media_api.exceptions import ForeignBucket, StorageUnavailable
from media_api.fsck import Finding
from media_api.models import (
    Image,
    ImageTag,
    PendingDeletion,
    Upload,
    Usage,
    database_now,
    uuid7,
)
from media_api.storage import EPOCH_KEY, ImageStorage
from tests import pictures
from tests.conftest import Work, client_of, emptied, objects, store_down, stored_on
from tests.sending import API, announce, put, read, send, send_directly
from tests.services import FOLDER, Store
from tests.test_stripping import SECRET, talkative_jpeg

Keep = Callable[..., Image]


@pytest.fixture
def image(bucket: ImageStorage, alice: User, keep: Keep) -> Image:
    """With everything that an image can have: a stripped copy, and two renditions."""
    return keep(alice, talkative_jpeg(pictures.photo(400, 300)), tags=("sea",))


@dataclass(frozen=True)
class Said:
    code: int
    lines: list[dict[str, Any]]

    @property
    def found(self) -> list[tuple[str, str]]:
        return [(line["finding"], line["key"]) for line in self.lines]

    @property
    def done(self) -> dict[str, str]:
        return {line["key"]: line["done"] for line in self.lines}


def run(*options: str) -> Said:
    """The command, as a program reads it."""
    out, code = StringIO(), 0
    try:
        call_command("fsck", "--json", *options, stdout=out)
    except SystemExit as end:
        code = int(str(end.code))
    return Said(code, [json.loads(line) for line in out.getvalue().splitlines()])


HEALTHY = Said(0, [])


def sql(statement: str, *arguments: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, arguments)


# --- what is well ---------------------------------------------------------------------------------


def test_nothing_is_found_where_nothing_is_wrong(
    bucket: ImageStorage, alice: User, image: Image, keep: Keep, work: Work
) -> None:
    api = client_of(alice)
    trashed, renamed, deleted, purged = (keep(alice) for _ in range(4))
    api.delete(f"{API}/images/{trashed.id}")
    api.patch(f"{API}/images/{renamed.id}", {"name": "Søren"}, format="json")
    send(api, b"no picture")
    api.delete(f"{API}/images/{purged.id}?permanent=true")
    work()
    put(announce(api, b"x").json(), b"x")
    send_directly(api, pictures.png())
    deleted.delete()  # its objects are still there, and a PendingDeletion explains them
    assert PendingDeletion.objects.count() >= 2
    for options in [], ["--quick"], ["--content"]:
        assert run(*options) == HEALTHY


def test_an_empty_service_is_well(bucket: ImageStorage) -> None:
    assert run() == HEALTHY


# --- what is wrong --------------------------------------------------------------------------------


def key_of(image: Image, part: str) -> str:
    return {
        "original": image.path,
        "stripped": image.stripped_path,
        "rendition": image.rendition_key(640 if 640 in image.sides else 320),
        "description": f"images/{image.id}/image.json",
    }[part]


PARTS = ["original", "stripped", "rendition", "description"]


def keys(image: Image, parts: list[str]) -> list[str]:
    """In the order of a listing."""
    return sorted(key_of(image, part) for part in parts)


def test_missing_objects_are_found(bucket: ImageStorage, image: Image) -> None:
    for part in PARTS:
        key = key_of(image, part)
        body, content_type = bucket.read(key), str(bucket.type_of(key))
        bucket.remove([key])
        for said in run(), run("--quick"):
            assert (said.code, said.found) == (1, [(f"missing_{part}", key)])
            assert said.lines[0]["image"] == str(image.id)
        bucket.keep(key, body, content_type=content_type)
    assert run() == HEALTHY


def test_an_image_of_which_nothing_is_left_is_found(bucket: ImageStorage, image: Image) -> None:
    bucket.remove(objects(bucket))
    for options in [], ["--quick"]:
        found = {kind for kind, _ in run(*options).found}
        assert found == {f"missing_{part}" for part in PARTS}


def test_wrong_sizes_are_found(bucket: ImageStorage, image: Image) -> None:
    for part in PARTS:
        key = key_of(image, part)
        body = b"" if part == "description" else bucket.read(key)[:-1]
        bucket.keep(key, body, content_type=str(bucket.type_of(key)))
    for options in ["--quick"], ["--content"]:
        assert run(*options).found == [("wrong_size", key) for key in keys(image, PARTS)]


def test_wrong_types_are_found(bucket: ImageStorage, image: Image) -> None:
    for part in PARTS:
        bucket.keep(key_of(image, part), bucket.read(key_of(image, part)), content_type="text/html")
    assert run().found == [("wrong_type", key) for key in keys(image, PARTS)]
    assert run("--quick") == HEALTHY
    assert run("--repair").done == dict.fromkeys(keys(image, PARTS), "made again")
    assert run("--content") == HEALTHY


def flip(bucket: ImageStorage, key: str) -> None:
    """One bit, in the middle."""
    body = bytearray(bucket.read(key))
    body[len(body) // 2] ^= 1
    bucket.keep(key, bytes(body), content_type=str(bucket.type_of(key)))


def remove_one(bucket: ImageStorage, key: str) -> None:
    bucket.remove([key])


def test_flipped_bits_are_found_by_reading(bucket: ImageStorage, image: Image) -> None:
    flipped = ["original", "stripped", "rendition"]
    for part in flipped:
        flip(bucket, key_of(image, part))
    assert run() == HEALTHY
    assert run("--content").found == [("wrong_hash", key) for key in keys(image, flipped)]


def test_what_the_bucket_itself_cannot_read_is_found(
    minio: Store, alice: User, keep: Keep, pytestconfig: pytest.Config
) -> None:
    """A bit of the disk: MinIO notices, and gives an error instead of the bytes."""
    with stored_on(minio) as bucket:
        emptied(bucket)
        claim_bucket()
        image = keep(alice, pictures.large(400_000))
        (file,) = (pytestconfig.stash[FOLDER] / "minio").glob(f"*/{image.path}/*/part.1")
        body = bytearray(file.read_bytes())
        body[200_000] ^= 1
        file.write_bytes(body)
        assert run() == HEALTHY
        assert run("--content").found == [("unreadable", image.path)]
        image.refresh_from_db()
        assert image.damaged_at
        bucket.remove([image.rendition_key(320)])
        long_ago()
        assert damage.check_content() == 1
        assert damage.check_content() == 0
        said = run("--repair")
        assert said.done == {image.rendition_key(320): ""}
        adoptable(bucket, image)
        assert "cannot be read" in run("--adopt").lines[0]["detail"]
        emptied(bucket)


def test_a_wrong_description_is_found(bucket: ImageStorage, image: Image) -> None:
    key = key_of(image, "description")
    for body in b"{}", b"[]", b"[" * 5000, b"\xff", b'{"name": "other"}':
        bucket.keep(key, body, content_type="application/json")
        assert run("--content").found == [("wrong_description", key)]


def lost_objects(bucket: ImageStorage, image: Image) -> list[str]:
    """Objects of every kind that no row explains, in the order in which they are found."""
    lost = [
        f"staging/{image.id}",
        f"staging/{uuid7()}",
        f"staging/{uuid7()}/x",
        "staging/not-an-id",
        f"images/{uuid7()}",
        f"images/{image.id}/notes.txt",
        f"images/{uuid7()}/original.jpg",
        "images/lost",
        "images/not-an-id/original.jpg",
    ]
    for key in lost:
        bucket.keep(key, b"x", content_type="image/jpeg")
    return sorted(lost, key=lambda key: (not key.startswith("staging"), key))


def test_objects_without_a_row_are_found(bucket: ImageStorage, image: Image) -> None:
    lost = lost_objects(bucket, image)
    for options in [], ["--quick"]:
        said = run(*options)
        assert (said.code, said.found) == (1, [("unknown_object", key) for key in lost])
    assert set(lost) < set(objects(bucket))


def test_wrong_usage_is_found(bucket: ImageStorage, image: Image) -> None:
    Usage.objects.update(used=7)
    said = run()
    Usage.objects.update(used=image.size)
    assert said.found == [("wrong_usage", "")]
    assert "alice" in said.lines[0]["detail"]


def test_wrong_tags_are_found(bucket: ImageStorage, image: Image) -> None:
    ImageTag.objects.update(tag="frog")
    said = run()
    ImageTag.objects.update(tag="sea")
    assert said.found == [("wrong_tags", "")]
    assert "alice are wrong in 2 rows" in said.lines[0]["detail"]


def test_a_bucket_of_somebody_else_is_found(bucket: ImageStorage, image: Image) -> None:
    bucket.remove([EPOCH_KEY, image.path])
    assert run().found[0] == ("foreign_bucket", EPOCH_KEY)
    bucket.keep(EPOCH_KEY, b"another", content_type="text/plain")
    assert run().found == [("foreign_bucket", EPOCH_KEY), ("missing_original", image.path)]
    image.refresh_from_db()
    assert image.damaged_at is None  # it may lie in the right bucket
    for option in "--repair", "--adopt", "--remove-unknown":
        with pytest.raises(CommandError) as refused:
            run(option)
        assert refused.value.returncode == 2


def test_all_at_once_each_by_its_name(bucket: ImageStorage, alice: User, keep: Keep) -> None:
    kept = [keep(alice) for _ in range(5)]
    orphan = f"images/{uuid7()}/320.webp"
    bucket.remove([kept[0].path, kept[2].rendition_key(320)])
    bucket.keep(kept[4].path, b"x", content_type="image/jpeg")
    bucket.keep(orphan, b"x", content_type="image/webp")
    assert run().found == [
        ("missing_original", kept[0].path),
        ("missing_rendition", kept[2].rendition_key(320)),
        ("wrong_size", kept[4].path),
        ("unknown_object", orphan),
    ]


def test_it_looks_again_before_it_says_something(
    bucket: ImageStorage, alice: User, image: Image, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the listing and the rows an image comes and another goes: neither is a finding."""
    going = keep(alice)
    listed = list(fsck._objects(None))
    coming = keep(alice)
    rows = list(fsck._rows(None))
    images.delete(Image.objects.filter(id=going.id))
    images.purge_due()
    monkeypatch.setattr(fsck, "_objects", lambda _: iter(listed))
    monkeypatch.setattr(fsck, "_rows", lambda _: iter(rows))
    assert {place.name for place in fsck.places() if not place.agrees} == {f"{coming.id}/"}
    assert run("--quick") == HEALTHY
    assert run() == HEALTHY


def test_it_looks_again_at_what_changed_while_it_looked(
    bucket: ImageStorage, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The image is deleted and its objects removed, after the row was read and before they were listed."""
    find = fsck.find

    def then_deleted(image_id: Any) -> Image | None:
        found = find(image_id)
        images.delete(Image.objects.filter(id=image_id))
        images.purge([image_id])
        return found

    monkeypatch.setattr(fsck, "find", then_deleted)
    assert fsck.look(image.id) == []


# --- how it is said -------------------------------------------------------------------------------


def test_people_read_a_line_for_each_finding(
    bucket: ImageStorage, image: Image, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("fsck")
    assert capsys.readouterr().out == "0 findings; 1 folders were looked at\n"
    bucket.remove([image.path])
    bucket.keep("staging/a\x1b[2J\n", b"x", content_type="image/jpeg")
    with pytest.raises(SystemExit) as end:
        call_command("fsck")
    assert end.value.code == 1
    first, second, last = capsys.readouterr().out.splitlines()
    assert first.startswith("unknown_object")
    assert "\x1b" not in first
    assert second.startswith(f"missing_original     {image.path}  ")
    assert last == "2 findings; 1 folders were looked at"


def test_it_goes_on_behind_an_image(bucket: ImageStorage, alice: User, keep: Keep) -> None:
    kept = [keep(alice) for _ in range(4)]
    bucket.remove(image.path for image in kept)
    assert run("--after", str(kept[1].id)).found == [
        ("missing_original", kept[2].path),
        ("missing_original", kept[3].path),
    ]


def test_without_the_bucket_it_says_where_to_go_on(
    bucket: ImageStorage, alice: User, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = keep(alice), keep(alice)
    with store_down(), pytest.raises(CommandError) as stopped:
        run()
    assert stopped.value.returncode == 2
    look = fsck.look

    def interrupted(image_id: Any, **options: Any) -> list[Finding]:
        if image_id == second.id:
            raise KeyboardInterrupt
        return look(image_id, **options)

    monkeypatch.setattr(fsck, "look", interrupted)
    with pytest.raises(CommandError, match=f"Stopped. Go on with: fsck --after {first.id}"):
        run()


# --- how much it takes ----------------------------------------------------------------------------


def test_memory_does_not_grow_with_what_there_is(storage: ImageStorage, alice: User) -> None:
    """Thousands of rows without a single object: each is found, none is remembered."""
    sql(
        """
        INSERT INTO media_api_image (id, owner_id, name, tags, path, stripped_path, size, date, content_type, width,
            height, frames, sha256, sides, placeholder, derived, version)
        SELECT id, %s, 'x', '{}', 'images/' || id || '/original.jpg', 'images/' || id || '/original.jpg', 1, now(),
            'image/jpeg', 1, 1, 1, repeat('0', 64), '{320}', '', '{}', 1
        FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, 6000)) AS ids
        """,
        alice.id,
    )
    count = 0
    tracemalloc.start()
    for place in fsck.places():
        count += not place.agrees
        if count == 1000:
            early, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 6_000
    assert peak - early < 3_000_000


# --- repair ---------------------------------------------------------------------------------------


def bodies(bucket: ImageStorage) -> dict[str, bytes]:
    return {key: bucket.read(key) for key in objects(bucket)}


def test_what_was_made_of_a_good_original_is_made_again(bucket: ImageStorage, image: Image) -> None:
    before = bodies(bucket)
    bucket.remove(key_of(image, part) for part in ["stripped", "description"])
    flip(bucket, key_of(image, "rendition"))
    said = run("--content", "--repair")
    assert said.code == 1
    assert set(said.done.values()) == {"made again"}
    assert len(said.lines) == 3
    assert run("--content") == HEALTHY
    after = bodies(bucket)
    description = key_of(image, "description")
    assert json.loads(after.pop(description)) | {"version": 1} == json.loads(
        before.pop(description)
    )
    assert after == before
    assert SECRET not in after[image.stripped_path]


def test_nothing_takes_the_place_of_an_original(bucket: ImageStorage, image: Image) -> None:
    bucket.remove([image.rendition_key(320)])
    for harm in flip, remove_one:
        harm(bucket, image.path)
        before = bodies(bucket)
        said = run("--content", "--repair")
        assert said.done == {image.path: "", image.rendition_key(320): ""}
        assert any("Its original is" in line["detail"] for line in said.lines)
        assert bodies(bucket) == before


def test_a_repair_within_the_limits(bucket: ImageStorage, image: Image, settings: Settings) -> None:
    bucket.remove([image.rendition_key(320)])
    settings.MAX_JPEG_PIXELS = 100
    said = run("--repair")
    assert said.done == {image.rendition_key(320): ""}
    assert "more pixels" in said.lines[0]["detail"]


def test_what_was_kept_before_sizes_were_written_down(bucket: ImageStorage, image: Image) -> None:
    Image.objects.update(derived={})
    images.describe_again(image.id)
    assert run("--content") == HEALTHY
    bucket.keep(image.rendition_key(320), b"", content_type="image/webp")
    assert run("--repair").found == [("wrong_size", image.rendition_key(320))]
    image.refresh_from_db()
    assert set(image.derived) == {"320.webp", "640.webp", "stripped.jpg"} - (
        set() if 640 in image.sides else {"640.webp"}
    )


# --- adopt ----------------------------------------------------------------------------------------

EVERYTHING = """
TRUNCATE media_api_image, media_api_imagetag, media_api_upload, media_api_pendingdeletion, media_api_installation,
auth_user CASCADE
"""


def rows() -> dict[Any, dict[str, Any]]:
    unlike = {"checked_at", "owner_id"}
    found = Image.objects.select_related("owner")
    return {
        image.id: {"owner": image.owner.username}
        | {
            field.attname: getattr(image, field.attname)
            for field in Image._meta.concrete_fields
            if field.attname not in unlike
        }
        for image in found
    }


def test_every_row_is_rebuilt_from_the_bucket(
    bucket: ImageStorage, alice: User, mallory: User, image: Image, keep: Keep
) -> None:
    keep(alice, pictures.png(), name="Å ‮ *?.png", tags=("a b", "ü"))
    keep(mallory, pictures.animation("GIF", frames=3))
    keep(mallory, pictures.avif())
    rows_before, before = rows(), bodies(bucket)
    sql(EVERYTHING)
    with pytest.raises(CommandError, match="another installation"):
        run("--adopt")
    said = run("--adopt", "--take-bucket", "--content")
    assert said.code == 1
    assert set(said.done.values()) == {"adopted"}
    assert rows() == rows_before
    assert bodies(bucket) == before
    assert run("--content") == HEALTHY

    images.purge_due()
    sweeps.sweep_staging()
    assert bodies(bucket) == before
    api = client_of(User.objects.get(username="alice"))
    link = read(api, str(image.id))["original"]["url"]
    assert httpx2.get(link).content == before[image.path]
    assert not User.objects.get(username="alice").has_usable_password()


def adoptable(bucket: ImageStorage, image: Image) -> dict[str, Any]:
    """Drop the row and nothing else; what `image.json` says."""
    sql("TRUNCATE media_api_image CASCADE")
    sql("TRUNCATE media_api_imagetag, media_api_usage")
    told: dict[str, Any] = json.loads(bucket.read(key_of(image, "description")))
    return told


LIES: list[dict[str, Any]] = [
    {"id": str(uuid7())},
    {"path": "images/other/original.jpg"},
    {"path": None},
    {"size": -1},
    {"size": 10**400},
    {"size": True},
    {"sha256": "0" * 64},
    {"sha256": "\u0660" * 64},
    {"owner": "a b\n<script>"},
    {"owner": ["alice"]},
    {"name": 7},
    {"tags": "sea"},
    {"tags": ["a,b"]},
    {"tags": ["x"] * 33},
    {"tags": ["\ud800"]},
    {"date": "2026-11-21"},
    {"date": "0001-01-01T00:00:00+23:59"},
    {"date": 7},
    {"version": 0},
    {"version": 2**40},
]


def test_a_description_that_lies_is_a_finding(
    storage: ImageStorage, alice: User, keep: Keep
) -> None:
    image = keep(alice)
    told, key = adoptable(storage, image), key_of(image, "description")
    for lie in LIES:
        storage.keep(key, json.dumps(told | lie).encode(), content_type="application/json")
        said = run("--adopt")
        assert said.code == 1, lie
        assert set(said.done.values()) == {""}, lie
        assert {kind for kind, _ in said.found} == {"unknown_object"}, lie
        assert "Its " in said.lines[0]["detail"], lie
    for body in b"", b"[]", b"[" * 100_000, b"9" * 5000, b" " * 300_000, b"\xff":
        storage.keep(key, body, content_type="application/json")
        assert set(run("--adopt").done.values()) == {""}, body[:9]
    storage.remove([key])
    assert "no image.json" in run("--adopt").lines[0]["detail"]
    assert not Image.objects.exists()
    assert not User.objects.exclude(id=alice.id).exists()


def test_of_an_image_nothing_but_its_labels_is_believed(
    storage: ImageStorage, alice: User, keep: Keep
) -> None:
    image = keep(alice)
    before, told = rows(), adoptable(storage, image)
    told |= {"width": 9, "frames": 9, "content_type": "text/html", "sides": [7], "derived": {}}
    told |= {"placeholder": "data:text/html,<script>", "stripped_path": "staging/x"}
    body = json.dumps(told).encode()
    storage.keep(key_of(image, "description"), body, content_type="application/json")
    assert set(run("--adopt").done.values()) == {"adopted"}
    assert rows() == before


def test_an_original_that_is_another_is_not_adopted(
    storage: ImageStorage, alice: User, keep: Keep, settings: Settings
) -> None:
    image = keep(alice)
    adoptable(storage, image)
    limit, settings.MAX_JPEG_PIXELS = settings.MAX_JPEG_PIXELS, 10
    assert "more pixels" in run("--adopt").lines[0]["detail"]
    settings.MAX_JPEG_PIXELS = limit
    body = storage.read(image.path)
    flip(storage, image.path)
    assert "is not what was written down of it" in run("--adopt").lines[0]["detail"]
    storage.remove([image.path])
    assert "original is missing" in run("--adopt").lines[0]["detail"]
    png = image.path.replace(".jpg", ".png")
    description = storage.read(key_of(image, "description"))
    lie = description.replace(image.path.encode(), png.encode())
    storage.keep(key_of(image, "description"), lie, content_type="application/json")
    storage.keep(png, body, content_type="image/png")
    assert "which its key does not say" in run("--adopt").lines[0]["detail"]
    storage.remove([png])
    storage.keep(key_of(image, "description"), description, content_type="application/json")
    storage.keep(image.path, body, content_type="image/jpeg")
    assert set(run("--adopt").done.values()) == {"adopted"}


def test_what_is_missing_beside_the_original_is_made_when_it_is_adopted(
    storage: ImageStorage, alice: User, keep: Keep
) -> None:
    image = keep(alice, talkative_jpeg(pictures.photo(400, 300)))
    adoptable(storage, image)
    storage.remove([key_of(image, "rendition"), key_of(image, "stripped")])
    storage.keep(f"images/{image.id}/notes.txt", b"x", content_type="text/plain")
    said = run("--adopt")
    assert said.done.pop(f"images/{image.id}/notes.txt") == ""
    assert run("--content").found == [("unknown_object", f"images/{image.id}/notes.txt")]


def test_adopted_for_somebody_else(
    storage: ImageStorage, alice: User, mallory: User, keep: Keep
) -> None:
    image = keep(alice)
    adoptable(storage, image)
    with pytest.raises(CommandError, match="no account"):
        run("--adopt", "--owner", "nobody")
    run("--adopt", "--owner", "mallory")
    assert Image.objects.get().owner == mallory
    assert run("--content") == HEALTHY


def test_what_was_deleted_is_not_adopted(
    storage: ImageStorage, alice: User, image: Image, keep: Keep, api: APIClient
) -> None:
    upload = send_directly(api, pictures.jpeg()).json()["id"]
    storage.keep(f"images/{upload}/original.jpg", b"x", content_type="image/jpeg")
    keep(alice).delete()
    kept = Image.objects.count()
    assert run("--adopt").code == 0
    assert Image.objects.count() == kept
    for image_id in PendingDeletion.objects.values_list("id", flat=True):
        finding = Finding("unknown_object", "", f"images/{image_id}/original.jpg", image_id)
        assert adoption.adopt([finding]) == [finding]


def test_a_database_that_has_images_takes_no_other_bucket(
    storage: ImageStorage, alice: User, keep: Keep
) -> None:
    keep(alice)
    storage.keep(EPOCH_KEY, str(uuid7()).encode(), content_type="text/plain")
    with pytest.raises(CommandError, match="a bucket of its own"):
        run("--adopt", "--take-bucket")
    storage.remove([EPOCH_KEY])
    with pytest.raises(CommandError, match="never claimed"):
        run("--adopt", "--take-bucket")
    Image.objects.all().delete()
    storage.keep(EPOCH_KEY, b"rubbish", content_type="text/plain")
    with pytest.raises(CommandError, match="not an id"):
        run("--adopt", "--take-bucket")


def test_two_who_adopt_at_once_make_one_row(
    storage: ImageStorage, alice: User, keep: Keep, work: Work
) -> None:
    image = keep(alice)
    before, body = rows(), bodies(storage)
    adoptable(storage, image)
    alice.delete()
    found = fsck.look(image.id)
    done: list[set[str]] = []

    def adopt() -> None:
        done.append({each.done for each in adoption.adopt(found)})
        connections.close_all()

    threads = [threading.Thread(target=adopt) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(sorted, done)) == [[""], [""], ["adopted"]]
    assert rows() == before
    assert bodies(storage) == body
    assert run("--content") == HEALTHY


# --- remove ---------------------------------------------------------------------------------------


def remove(*options: str) -> Said:
    return run("--remove-unknown", "--grace", "0", "--at-most", "10", *options)


def test_what_nothing_explains_is_removed_when_it_is_said(
    bucket: ImageStorage, image: Image
) -> None:
    before, lost = bodies(bucket), lost_objects(bucket, image)
    assert remove().done == dict.fromkeys(lost, "removed")
    assert bodies(bucket) == before
    assert run("--content") == HEALTHY
    assert PendingDeletion.objects.count() == 1  # for a second look


def test_what_is_young_stays(bucket: ImageStorage, image: Image) -> None:
    lost_objects(bucket, image)
    before = bodies(bucket)
    for options in [], ["--grace", "1"]:
        said = run("--remove-unknown", *options)
        assert said.code == 1
        assert set(said.done.values()) == {""}
    assert bodies(bucket) == before


def test_a_folder_into_which_something_was_just_written_stays(storage: ImageStorage) -> None:
    folder = uuid7()
    storage.keep(f"images/{folder}/320.webp", b"x", content_type="image/jpeg")
    found = fsck.look(folder)
    time.sleep(0.02)
    before = database_now()
    time.sleep(0.02)
    storage.keep(f"images/{folder}/original.jpg", b"x", content_type="image/jpeg")
    assert removal.Removal(before, 10).remove(found) == found
    assert removal.Removal(before, 10).remove(fsck.look(folder)) == fsck.look(folder)
    assert len(objects(storage)) == 2


def test_more_than_one_in_a_hundred_is_too_much(bucket: ImageStorage, image: Image) -> None:
    lost = lost_objects(bucket, image)
    before = bodies(bucket)
    for most in [], ["--at-most", str(len(lost) - 1)]:
        with pytest.raises(CommandError, match=f"--at-most {len(lost)}") as refused:
            run("--remove-unknown", "--grace", "0", *most)
        assert refused.value.returncode == 2
    assert bodies(bucket) == before
    run("--remove-unknown", "--grace", "0", "--at-most", str(len(lost)))
    assert run() == HEALTHY


def test_more_than_a_thousand_is_too_much(
    storage: ImageStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        storage.keep(f"images/{number}", b"x", content_type="image/jpeg")
    monkeypatch.setattr(removal, "MAX_SHARE", 1)
    monkeypatch.setattr(removal, "MAX_COUNT", 5)
    with pytest.raises(CommandError, match="at most 5 may be"):
        run("--remove-unknown", "--grace", "0")
    assert len(objects(storage)) == 6


def test_no_more_is_removed_than_was_counted(storage: ImageStorage) -> None:
    """Others appear after the count."""
    for number in range(3):
        storage.keep(f"images/{number}", b"x", content_type="image/jpeg")
    remover = removal.Removal(database_now() + timedelta(hours=1), 2)
    for place in fsck.places():
        remover.remove(list(fsck.look_into(place)))
    assert len(objects(storage)) == 1


def test_what_has_a_row_at_the_last_moment_stays(
    storage: ImageStorage, alice: User, keep: Keep
) -> None:
    """Between the finding and its removal the image is adopted, an upload begins."""
    image = keep(alice)
    adoptable(storage, image)
    found = fsck.look(image.id)
    upload = Upload.objects.create(
        owner=alice, name="x", size=1, content_type="image/jpeg", expires_at=database_now()
    )
    storage.keep(upload.key, b"x", content_type="image/jpeg")
    staged = Finding("unknown_object", "", upload.key, upload.id, written_at=database_now())
    adoption.adopt(found)
    remover = removal.Removal(database_now() + timedelta(hours=1), 100)
    assert {each.done for each in remover.remove(found)} == {""}
    assert remover.remove([staged]) == [staged]
    key = f"images/{upload.id}/original.jpg"  # as its worker may have written by now
    storage.keep(key, b"x", content_type="image/jpeg")
    written = Finding("unknown_object", "", key, upload.id, written_at=database_now())
    assert remover.remove([written]) == [written]
    assert run() == HEALTHY


# --- damage ---------------------------------------------------------------------------------------


def long_ago() -> None:
    Image.objects.update(checked_at=database_now() - timedelta(days=8))


def test_the_worker_finds_damage_by_itself_and_says_so(
    bucket: ImageStorage, alice: User, image: Image, client: Client
) -> None:
    api = client_of(alice)
    client.force_login(alice)
    address = f"{API}/images/{image.id}"
    good, body = api.get(address), bucket.read(image.path)
    assert good.json()["damaged_at"] is None
    for harm in flip, remove_one:
        harm(bucket, image.path)
        long_ago()
        assert damage.check_content() == 1
        assert damage.check_content() == 0
        bad = api.get(address)
        assert bad.json()["damaged_at"]
        assert bad["ETag"] != good["ETag"]
        assert api.get(f"{API}/images").json()["results"][0]["damaged_at"]
        assert 'id="damaged"' in client.get(f"/images/{image.id}/").content.decode()
        assert "Damaged" in client.get("/").content.decode()
        assert "shoebox_damaged_images 1.0" in client.get("/metrics").content.decode()

        bucket.keep(image.path, body, content_type="image/jpeg")
        long_ago()
        assert damage.check_content() == 1
        assert api.get(address).json()["damaged_at"] is None
        assert 'id="damaged"' not in client.get(f"/images/{image.id}/").content.decode()
    assert "Damaged" not in client.get("/").content.decode()
    assert "shoebox_damaged_images 0.0" in client.get("/metrics").content.decode()


def test_the_worker_makes_again_what_was_made_of_a_good_original(
    bucket: ImageStorage, image: Image
) -> None:
    before = bodies(bucket)
    flip(bucket, image.rendition_key(320))
    bucket.remove([image.stripped_path])
    long_ago()
    damage.check_content()
    image.refresh_from_db()
    assert image.damaged_at is None
    assert bodies(bucket).keys() == before.keys()
    assert run("--content") == HEALTHY


def test_the_check_marks_what_the_command_finds(bucket: ImageStorage, image: Image) -> None:
    body = bucket.read(image.path)
    bucket.remove([image.path])
    run("--quick")
    image.refresh_from_db()
    assert image.damaged_at
    bucket.keep(image.path, body, content_type="image/jpeg")
    assert run() == HEALTHY
    image.refresh_from_db()
    assert image.damaged_at  # nobody has read it
    assert run("--content") == HEALTHY
    image.refresh_from_db()
    assert image.damaged_at is None


def test_the_worker_reads_no_faster_than_it_may(
    storage: ImageStorage, alice: User, keep: Keep, settings: Settings, client: Client
) -> None:
    kept = [keep(alice) for _ in range(3)]
    for age, image in enumerate(kept):
        Image.objects.filter(id=image.id).update(
            checked_at=database_now() - timedelta(days=8 + age)
        )
    settings.CONTENT_CHECK_RATE = 0
    assert damage.check_content() == 0
    oldest = "shoebox_oldest_content_check_seconds 864"
    assert oldest in client.get("/metrics").content.decode()
    settings.CONTENT_CHECK_RATE = (
        1  # 60 bytes a turn: one image, the one that was not read for longest
    )
    assert damage.check_content() == 1
    kept[2].refresh_from_db()
    assert database_now() - kept[2].checked_at < timedelta(minutes=1)
    assert damage.check_content() == 1
    settings.CONTENT_CHECK_RATE = 1_000_000
    assert damage.check_content() == 1


def test_a_store_that_is_away_is_no_damage(storage: ImageStorage, alice: User, keep: Keep) -> None:
    image = keep(alice)
    long_ago()
    with store_down(), pytest.raises(StorageUnavailable):
        damage.check_content()
    storage.keep(EPOCH_KEY, b"another", content_type="text/plain")
    storage.remove([image.path])
    with pytest.raises(ForeignBucket):
        damage.check_content()
    image.refresh_from_db()
    assert image.damaged_at is None
    assert image.checked_at < database_now() - timedelta(days=7)
