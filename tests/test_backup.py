"""A backup and what comes back of it, whatever happens on the way; and what is not removed after a restore."""

import json
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import httpx2
import pytest
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command
from django.db import connection, connections

from media_api import doctor, faults, holds, images, sweeps
from media_api.backup import folder as backups
from media_api.backup import rows
from media_api.epoch import claim_bucket, epoch
from media_api.models import (
    ApiKey,
    Hold,
    Image,
    Installation,
    PendingDeletion,
    Quota,
    Upload,
    Usage,
    database_now,
    uuid7,
)
from media_api.storage import EPOCH_KEY, TURN_KEY, ImageStorage
from project.embedded.addresses import free_port
from project.embedded.postgres import _binary
from tests import faulty, pictures
from tests.conftest import Work, client_of, database_of_the_test, emptied, objects, stored_on
from tests.faulty import Faulty
from tests.sending import API, announce, put, read, send_directly
from tests.services import Store, settings_of
from tests.serving import READY, Service, wait_until
from tests.test_fsck import HEALTHY, flip
from tests.test_fsck import run as fsck
from tests.test_stripping import talkative_jpeg

Keep = Callable[..., Image]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "backup"


@pytest.fixture
def plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a fault of this process is planned."""
    folder = tmp_path / "plans"
    folder.mkdir()
    monkeypatch.setattr(faults, "folder", folder)
    return folder


@dataclass(frozen=True)
class Said:
    code: int
    lines: list[str]

    @property
    def kinds(self) -> list[str]:
        """Of the findings, each with its key."""
        return [" ".join(line.split()[:2]) for line in self.lines if "_" in line.split()[0]]

    @property
    def last(self) -> str:
        return self.lines[-1]


def run(command: str, *options: object) -> Said:
    out, code = StringIO(), 0
    try:
        call_command(command, *map(str, options), stdout=out)
    except SystemExit as end:
        code = int(str(end.code))
    return Said(code, out.getvalue().splitlines())


def refused(command: str, *options: object) -> str:
    with pytest.raises(CommandError) as error:
        run(command, *options)
    assert error.value.returncode == 2
    return str(error.value)


def everything() -> dict[str, str]:
    """All rows of every table that is worth keeping; an installation differs in what it remembers of a restore."""
    kept = rows.kept_tables().items()
    said: dict[str, list[bytes]] = {name: [] for name, _ in kept}
    for name, model in kept:
        names = [column for column in rows.columns(model) if column != "restored_at"]
        rows.copy_out(model, names, said[name].append)
    return {name: b"".join(blocks).decode() for name, blocks in said.items()}


def bodies(bucket: ImageStorage) -> dict[str, Any]:
    """Every object, byte for byte; an image.json, which is written from a row, as what it says."""
    return {key: in_words(key, bucket.read(key)) for key in objects(bucket)}


def in_words(key: str, body: bytes) -> Any:
    return json.loads(body) if key.endswith(".json") else body


def lose_database() -> None:
    """A new one takes its place, as migrations and `make run` leave it."""
    rows.empty_all()
    with connection.cursor() as cursor:
        cursor.execute("ALTER SEQUENCE auth_user_id_seq RESTART")
    call_command("user", "admin", stdout=StringIO())


def sweep() -> None:
    """Everything that removes by the clock, now."""
    Image.objects.exclude(trashed_at=None).update(trashed_at=database_now() - timedelta(days=99))
    PendingDeletion.objects.update(due_at=database_now() - timedelta(hours=2))
    Upload.objects.update(expires_at=database_now() - timedelta(hours=2))
    images.empty_old_trash()
    sweeps.expire_overdue()
    images.purge_due()
    sweeps.sweep_staging()


@pytest.fixture
def full(bucket: ImageStorage, alice: User, mallory: User, keep: Keep) -> ImageStorage:
    """Something of everything."""
    keep(alice, talkative_jpeg(pictures.photo(400, 300)), name="Å ‮ *?\t\\.png", tags=("a b", "ü"))
    keep(mallory, pictures.animation("GIF", frames=3))
    trashed = keep(alice, pictures.avif())
    deleted = keep(alice)
    images.trash(Image.objects.filter(id=trashed.id))
    images.describe_again(trashed.id)  # else it has the version of before
    images.delete(Image.objects.filter(id=deleted.id))
    images.purge_due()
    ApiKey.objects.mint(alice, scopes=["read"], name="laptop")
    Quota.objects.create(owner=mallory, size=10**12)
    mallory.groups.add(Group.objects.create(name="friends"))
    return bucket


# --- there and back -------------------------------------------------------------------------------


def test_all_that_was_there_comes_back(full: ImageStorage, place: Path) -> None:
    before, lying, used = everything(), bodies(full), list(Usage.objects.order_by("pk").values())
    said = run("backup", place)
    assert said.code == 0
    assert "has 3 images" in said.last
    lose_database()
    emptied(full)
    claim_bucket()
    assert run("restore", place).code == 0
    assert everything() == before
    assert bodies(full) == lying
    assert [row for row in Usage.objects.order_by("pk").values() if row["used"]] == [
        row for row in used if row["used"]
    ]
    assert full.read(EPOCH_KEY) == str(epoch()).encode()
    assert fsck("--content") == HEALTHY

    alice = User.objects.get(username="alice")
    image = Image.objects.of(alice).present().get()
    link = read(client_of(alice), str(image.id))["original"]["url"]
    assert httpx2.get(link).content == lying[image.path]
    assert User.objects.create_user("new").id > alice.id


def test_only_we_may_read_it(full: ImageStorage, place: Path) -> None:
    place.mkdir(mode=0o755)
    run("backup", place)
    modes = {(path.is_dir(), path.stat().st_mode & 0o777) for path in [place, *place.rglob("*")]}
    assert modes == {(True, 0o700), (False, 0o600)}


def test_every_table_is_in_it_or_left_out_on_purpose() -> None:
    assert rows.tables().keys() > rows.LEFT_OUT
    assert not [name for name in rows.tables() if name.startswith("procrastinate")]


def written_at(place: Path) -> dict[str, int]:
    return {
        str(path.relative_to(place)): path.stat().st_mtime_ns
        for path in place.rglob("images/*/*")
        if path.is_file()
    }


def test_the_next_one_copies_what_is_new(
    full: ImageStorage, place: Path, alice: User, keep: Keep, work: Work
) -> None:
    run("backup", place)
    before = written_at(place)
    assert run("backup", place).last.endswith(" 0 objects were copied.")
    assert written_at(place) == before
    renamed = Image.objects.of(alice).present().get()
    images.change(renamed, name="Other")
    work()
    new = keep(alice)
    assert run("backup", place).last.endswith(" 2 objects were copied.")
    after = written_at(place)
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {f"images/{renamed.id}/image.json"}
    assert {key for key in after if key not in before} == {
        key for key in objects(full) if str(new.id) in key
    }
    assert len(list(place.glob("rows-*"))) == 1
    for key, body in bodies(full).items():
        assert in_words(key, (place / key).read_bytes()) == body


def test_what_was_made_again_is_copied_again(full: ImageStorage, place: Path) -> None:
    run("backup", place)
    image = Image.objects.all()[0]
    key = image.rendition_key(320)
    full.keep(key, b"other", content_type="image/webp")
    digest = {
        "size": 5,
        "sha256": "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa",
    }
    Image.objects.filter(id=image.id).update(derived=image.derived | {"320.webp": digest})
    assert run("backup", place).last.endswith(" 1 objects were copied.")
    assert (place / key).read_bytes() == b"other"


def test_what_was_kept_before_hashes_were_written_down(full: ImageStorage, place: Path) -> None:
    Image.objects.update(derived={})
    assert run("backup", place).code == 0
    assert run("backup", place).last.endswith(" 0 objects were copied.")
    assert run("backup", place, "--verify").code == 0


def test_what_is_purged_stays_in_it_until_it_is_said(full: ImageStorage, place: Path) -> None:
    run("backup", place)
    image = Image.objects.all()[0]
    images.delete(Image.objects.filter(id=image.id))
    images.purge([image.id])
    run("backup", place, "--prune")
    assert (place / image.path).exists()  # it is looked for once more in the bucket
    PendingDeletion.objects.update(due_at=database_now())
    images.purge_due()
    run("backup", place)
    assert (place / image.path).exists()
    assert run("backup", place, "--prune").code == 0
    assert not (place / image.path).parent.exists()
    assert run("backup", place, "--verify").code == 0


# --- what is not as it should be ------------------------------------------------------------------


def test_what_the_bucket_lacks_is_told_and_the_rest_copied(full: ImageStorage, place: Path) -> None:
    first, second, _ = Image.objects.order_by("id")
    flip(full, first.path)
    full.remove([second.rendition_key(320)])
    said = run("backup", place)
    assert said.code == 1
    assert said.kinds == [
        f"wrong_hash {first.path}",
        f"missing_rendition {second.rendition_key(320)}",
    ]
    assert "without 2 that were damaged" in said.last
    there = {str(path.relative_to(place)) for path in place.glob("images/*/*")}
    labels = {f"images/{image.id}/image.json" for image in (first, second)}
    assert there == set(objects(full)) - {first.path} - labels
    flip(full, first.path)
    said = run("backup", place)
    assert said.kinds == [f"missing_rendition {second.rendition_key(320)}"]
    assert said.last.endswith(" 1 objects were copied.")


def test_a_good_copy_outlives_the_object(full: ImageStorage, place: Path) -> None:
    run("backup", place)
    image = Image.objects.all()[0]
    body = full.read(image.path)
    flip(full, image.path)
    full.remove([image.rendition_key(320)])
    assert run("backup", place).code == 0
    said = run("restore", place, "--objects")
    assert said.code == 0
    assert said.last.endswith(" 2 objects were put back.")
    assert full.read(image.path) == body
    assert fsck("--content") == HEALTHY
    assert not holds.is_unconfirmed()


def test_a_copy_that_is_damaged_is_found_when_it_is_read(full: ImageStorage, place: Path) -> None:
    run("backup", place)
    first, second, third = Image.objects.order_by("id")
    for damaged in first.path, second.rendition_key(320):
        body = (place / damaged).read_bytes()
        (place / damaged).write_bytes(body[:-1] + bytes([body[-1] ^ 1]))
    (place / third.rendition_key(320)).unlink()
    expected = [
        f"damaged_copy {first.path}",
        f"damaged_copy {second.rendition_key(320)}",
        f"missing_copy {third.rendition_key(320)}",
    ]
    said = run("backup", place, "--verify")
    assert (said.code, said.kinds) == (1, expected)
    shutil.copytree(place, mended := place.with_name("mended"))
    (mended / first.path).unlink()
    (mended / second.rendition_key(320)).unlink()
    assert run("backup", mended).last.endswith(" 3 objects were copied.")
    assert run("backup", mended, "--verify").code == 0
    lose_database()
    emptied(full)
    said = run("restore", place)
    assert (said.code, said.kinds) == (1, expected)
    assert Image.objects.count() == 3
    assert set(fsck("--repair").done.values()) == {"", "made again"}
    assert fsck().found == [("missing_original", first.path)]


def test_a_file_of_rows_that_is_damaged_stops_a_restore(full: ImageStorage, place: Path) -> None:
    run("backup", place)
    lose_database()
    emptied(full)
    (folder,) = place.glob("rows-*")
    for name in "media_api_image", "images.jsonl":
        body = (folder / name).read_bytes()
        (folder / name).write_bytes(body.replace(b"image/gif", b"image/png"))
        for said in refused("restore", place), refused("backup", place, "--verify"):
            assert f"{folder / name} is missing or damaged" in said
        (folder / name).unlink()
        assert "is missing or damaged" in refused("restore", place)
        (folder / name).write_bytes(body)
    assert list(full.keys("")) == []
    assert not Image.objects.exists()


def test_a_key_that_leads_elsewhere_is_none() -> None:
    image = Image(id=uuid7(), sides=[], derived={}, size=1)
    for key in (
        "../../etc/passwd",
        f"images/{image.id}/../x",
        f"images/{image.id}/..",
        "/etc/passwd",
    ):
        image.path = key
        with pytest.raises(backups.BackupRefused):
            backups.objects_of(image)


# --- folders that it does not touch ---------------------------------------------------------------


def test_a_folder_of_something_else_is_left_alone(full: ImageStorage, place: Path) -> None:
    place.mkdir()
    (place / "letter.txt").write_text("Dear")
    assert "is not empty and holds no backup" in refused("backup", place)
    assert [path.name for path in place.iterdir()] == ["letter.txt"]
    assert "holds no backup" in refused("restore", place)
    assert "Not a directory" in refused("backup", place / "letter.txt" / "x")


def test_a_folder_that_belongs_to_somebody_else_is_said(storage: ImageStorage) -> None:
    user = os.geteuid()
    os.seteuid(user or 65534)  # root may write anywhere
    try:
        said = refused("backup", "/backup-of-nobody")
    finally:
        os.seteuid(user)
    assert said.startswith("/backup-of-nobody is not ours to use (Permission denied)")
    assert f"the number {user or 65534}" in said


def test_a_folder_of_another_installation_is_left_alone(full: ImageStorage, place: Path) -> None:
    run("backup", place)
    Installation.objects.update(epoch=uuid7())
    full.keep(EPOCH_KEY, str(epoch()).encode(), content_type="text/plain")
    assert "of another installation" in refused("backup", place)
    assert "of another installation" in refused("restore", place, "--objects")


def test_two_at_once_are_one_too_many(full: ImageStorage, place: Path) -> None:
    run("backup", place)
    with backups.locked(place, alone=True):
        for options in [place], [place, "--verify"]:
            assert "Another backup or restore is using" in refused("backup", *options)
        assert "Another backup or restore is using" in refused("restore", place)
    with backups.locked(place, alone=False):
        assert run("backup", place, "--verify").code == 0
        assert "Another backup or restore is using" in refused("backup", place)


def test_what_is_no_finished_backup_is_refused(full: ImageStorage, place: Path) -> None:
    run("backup", place)
    manifest = place / "backup.json"
    text = manifest.read_text()
    lose_database()
    for body in "", "[]", "{}", text[:-9], text.replace('"count"', '"counts"'):
        manifest.write_text(body)
        assert "cannot be read" in refused("restore", place)
    manifest.write_text(text.replace('"format": 1', '"format": 2'))
    assert "another version of Shoebox" in refused("restore", place)
    manifest.unlink()
    assert "no backup that was finished" in refused("restore", place)


# --- stopped on the way ---------------------------------------------------------------------------


def process(
    store: Store, plans: Path, *arguments: object, limit: int = -1
) -> "subprocess.CompletedProcess[str]":
    """The command in a process of its own, which may die, or write no more than so many bytes into a file."""
    (plans / faults.TEST_RUN).touch()
    environment = os.environ | settings_of(store) | {"FAULTS": str(plans)}
    if store.credentials == store.upload_credentials:
        environment["S3_UPLOAD_ACCESS_KEY_ID"] = "another"  # as must be where this is not embedded
    return subprocess.run(
        [sys.executable, "manage.py", *map(str, arguments)],
        env=environment | {"DATABASE_URL": database_of_the_test()},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
    )


def killed(store: Store, plans: Path, point: str, *arguments: object) -> None:
    name, _, number = point.partition(" ")
    (plans / f"{name}.hit").unlink(missing_ok=True)
    (plans / name).write_text(f"kill {number or 1}")
    done = process(store, plans, *arguments)
    assert done.returncode == -9, done.stderr
    assert (plans / f"{name}.hit").exists()


def test_one_that_was_killed_goes_on(
    full: ImageStorage, store: Store, place: Path, plans: Path, alice: User, keep: Keep
) -> None:
    for point in "rows_written", "object_copied 3":
        killed(store, plans, point, "backup", place)
        assert "no backup that was finished" in refused("restore", place)
    copied = len(written_at(place))
    assert copied == 3
    count = len(objects(full))
    said = run("backup", place)
    labels = Image.objects.count()
    assert said.last.endswith(f" {count - labels - copied} objects were copied.")
    assert run("backup", place, "--verify").code == 0
    before = backups.read_manifest(place)

    keep(alice, pictures.png())
    keep(alice, pictures.webp())
    killed(store, plans, "object_copied 2", "backup", place)
    assert backups.read_manifest(place) == before
    assert run("backup", place, "--verify").code == 0
    assert run("backup", place).code == 0
    assert backups.read_manifest(place).images.count == 5
    assert len(list(place.glob("rows-*"))) == 1


def test_a_restore_that_was_killed_goes_on(
    full: ImageStorage, store: Store, place: Path, plans: Path
) -> None:
    before, lying = everything(), bodies(full)
    run("backup", place)
    lose_database()
    emptied(full)
    claim_bucket()
    for point in "object_put_back 2", "rows_loaded":
        killed(store, plans, point, "restore", place)
        assert not Image.objects.exists()
        sweep()
    assert run("restore", place).code == 0
    assert everything() == before
    assert bodies(full) == lying


def test_a_full_disk_leaves_the_last_one_whole(
    full: ImageStorage, store: Store, place: Path, plans: Path, alice: User, keep: Keep
) -> None:
    run("backup", place)
    keep(alice, pictures.large(400_000))
    done = process(store, plans, "backup", place, limit=300_000)
    assert done.returncode == 2
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert run("backup", place, "--verify").code == 0
    assert list(place.rglob("*.new")) == []
    assert not Hold.objects.exists()
    assert run("backup", place).code == 0


def test_a_bucket_that_goes_away_is_gone_on_with(
    rclone: Store, storage: ImageStorage, alice: User, keep: Keep, place: Path, plans: Path
) -> None:
    keep(alice)
    keep(alice, pictures.png())
    proxy = Faulty(rclone)
    with stored_on(proxy.seen):
        with meanwhile(plans, "object_copied", "backup", place) as said:
            fault = proxy.failing(faulty.refused)
            fault.__enter__()
        fault.__exit__(None, None, None)
        assert "it goes on where it stopped" in said[0]
        assert not (place / "backup.json").exists()
        with proxy.failing(faulty.emptied):
            assert "bucket" in refused("backup", place)
        assert run("backup", place).code == 0
    proxy.close()


@contextmanager
def meanwhile(plans: Path, point: str, *arguments: object) -> Iterator[list[str]]:
    """The block is run while the command waits at a point; then what it said, or why it did not."""
    said: list[str] = []

    def work() -> None:
        try:
            said.extend(run(str(arguments[0]), *arguments[1:]).lines)
        except CommandError as error:
            said.append(str(error))
        finally:
            connections.close_all()

    (plans / point).write_text("hang 1")
    thread = threading.Thread(target=work)
    thread.start()
    hit = plans / f"{point}.hit"
    wait_until(hit.exists)
    try:
        yield said
    finally:
        hit.unlink()
        thread.join()


# --- purges wait for a backup ---------------------------------------------------------------------


def test_what_is_deleted_during_a_backup_is_in_it(
    full: ImageStorage, place: Path, plans: Path, alice: User, work: Work
) -> None:
    image = Image.objects.of(alice).present().get()
    lying = set(objects(full))
    with meanwhile(plans, "rows_written", "backup", place) as said:
        client_of(alice).delete(f"{API}/images/{image.id}?permanent=true")
        work()
        images.purge_due()
        assert set(objects(full)) == lying
        assert look("removal").state == doctor.State.NOTE
        assert "A backup is running since" in run("purge").last
        with pytest.raises(CommandError, match="A backup is running"):
            fsck("--remove-unknown")
    assert "has 3 images" in said[-1]
    assert (place / image.path).exists()
    assert run("backup", place, "--verify").code == 0
    images.purge_due()
    assert not [key for key in objects(full) if str(image.id) in key]
    assert look("removal").state == doctor.State.OK


def look(name: str) -> doctor.Finding:
    (found,) = [check.look() for check in doctor.CHECKS if check.name == name]
    return found


def test_a_backup_that_was_killed_holds_purges_for_half_an_hour(
    full: ImageStorage, store: Store, place: Path, plans: Path
) -> None:
    killed(store, plans, "rows_written", "backup", place)
    image = Image.objects.all()[0]
    images.delete(Image.objects.filter(id=image.id))
    images.purge_due()
    assert image.path in objects(full)
    hold = Hold.objects.get()
    assert timedelta(minutes=29) < hold.expires_at - database_now() < timedelta(minutes=31)
    Hold.objects.update(expires_at=database_now())
    images.purge_due()
    assert image.path not in objects(full)


def test_a_backup_that_runs_puts_the_end_off(
    storage: ImageStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holds, "PAUSE", -1)
    with holds.held_purges() as renew:
        Hold.objects.update(expires_at=database_now())
        assert not holds.is_held()
        renew()
        assert holds.is_held()
    assert not holds.is_held()


# --- database and bucket of different days --------------------------------------------------------


def test_the_database_of_yesterday_over_the_bucket_of_today(
    full: ImageStorage, place: Path, alice: User, keep: Keep, work: Work
) -> None:
    run("backup", place)
    yesterday = {image.id for image in Image.objects.all()}
    gone, stays = Image.objects.filter(owner=alice).order_by("id")
    images.restore(Image.objects.filter(id=stays.id))  # it was in the trash
    images.delete(Image.objects.filter(id=gone.id))
    images.purge_due()
    new = keep(alice, pictures.png(), name="Today", tags=("new",))
    staged = send_directly(client_of(alice), pictures.jpeg()).json()["id"]
    lying = bodies(full)
    lose_database()
    assert run("restore", place).code == 1  # they are not the same
    assert {image.id for image in Image.objects.all()} == yesterday
    lying |= {key: body for key, body in bodies(full).items() if str(gone.id) in key}
    assert lying[gone.path]  # what was deleted since is back

    sweep()
    assert bodies(full) == lying
    said = fsck()
    assert {key for _, key in said.found} == {
        key for key in lying if str(new.id) in key or staged in key
    }
    assert look("removal").state == doctor.State.WARN
    with pytest.raises(CommandError, match="restore --confirm"):
        fsck("--remove-unknown")
    assert "restore --confirm" in refused("backup", place)

    fsck("--adopt")
    back = Image.objects.get(id=new.id)
    assert (back.owner.username, back.name, back.tags) == ("alice", "Today", ["new"])
    assert fsck().found == [("unknown_object", f"staging/{staged}")]
    assert run("restore", "--confirm").code == 0
    assert look("removal").state == doctor.State.OK
    sweep()
    assert fsck("--content") == HEALTHY
    assert run("backup", place).code == 0


def test_the_bucket_of_yesterday_under_the_database_of_today(
    full: ImageStorage, place: Path, alice: User, keep: Keep
) -> None:
    run("backup", place)
    yesterday = bodies(full)
    deleted = Image.objects.filter(owner=alice).order_by("id")[0]
    images.delete(Image.objects.filter(id=deleted.id))
    new = keep(alice, pictures.png())
    before = everything()
    emptied(full)
    assert "has objects" not in refused("restore", place)
    said = run("restore", place, "--objects")
    assert said.code == 0
    assert everything() == before
    left = {key: body for key, body in yesterday.items() if str(deleted.id) not in key}
    assert bodies(full) == left
    sweep()
    assert bodies(full) == left
    assert {(kind, key.split("/")[1]) for kind, key in fsck().found} == {
        (f"missing_{part}", str(new.id)) for part in ("original", "rendition", "description")
    }
    assert run("restore", "--confirm").code == 0
    assert not holds.is_held()


def test_a_bucket_that_is_older_is_noticed(full: ImageStorage) -> None:
    holds.take_turn()
    turn = int(full.read(TURN_KEY))
    holds.take_turn()
    holds.take_turn()
    assert int(full.read(TURN_KEY)) == turn + 2
    assert not holds.is_unconfirmed()
    full.keep(TURN_KEY, str(turn).encode(), content_type="text/plain")
    assert "The bucket is older" in look("removal").sentence
    assert not Installation.objects.exclude(restored_at=None).exists()  # the doctor only looks
    lying = bodies(full)
    sweep()
    assert bodies(full) == lying
    assert holds.is_unconfirmed()
    holds.take_turn()
    assert int(full.read(TURN_KEY)) == turn
    run("restore", "--confirm")
    assert int(full.read(TURN_KEY)) == turn + 3
    assert not holds.is_unconfirmed()


def test_a_turn_that_the_bucket_was_not_told_of_is_told_again(storage: ImageStorage) -> None:
    holds.take_turn()
    Installation.objects.update(turn=2)
    assert not holds.is_unconfirmed()
    holds.take_turn()
    assert storage.read(TURN_KEY) == b"2"
    for rubbish in b"", b"x", b"-7":
        storage.keep(TURN_KEY, rubbish, content_type="text/plain")
        assert holds.steps_ahead() < 0


@pytest.fixture
def dumped(tmp_path: Path) -> Callable[[], Callable[[], None]]:
    """Dump the database as an operator does who does not know ours; what it gives loads that dump."""
    file = tmp_path / "shoebox.dump"

    def tool(name: str, *arguments: str) -> None:
        url = database_of_the_test()
        done = subprocess.run(
            [_binary(name), f"--dbname={url.replace('postgres://', 'postgresql://')}", *arguments],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr

    def dump() -> Callable[[], None]:
        tool("pg_dump", "-Fc", f"--file={file}")
        connection.close()
        return lambda: tool("pg_restore", "--clean", "--if-exists", str(file))

    return dump


def test_a_dump_that_was_loaded_by_other_means_is_noticed(
    full: ImageStorage,
    store: Store,
    plans: Path,
    alice: User,
    work: Work,
    dumped: Callable[[], Callable[[], None]],
) -> None:
    """Uploads that were under way then are images now, and do not end as uploads that nobody completed."""
    api = client_of(alice)
    body = pictures.png()
    holds.take_turn()
    upload = announce(api, body).json()
    staged = send_directly(api, body).json()["id"]
    waiting = announce(api, body).json()
    load = dumped()
    put(upload, body)
    api.post(f"{API}/uploads/{upload['id']}/complete?wait=0")
    work()
    holds.take_turn()
    lying = bodies(full)
    assert {str(image.id) for image in Image.objects.all()} >= {upload["id"], staged}

    load()
    assert "The database is older" in look("removal").sentence
    assert process(store, plans, "procrastinate", "worker", "--one-shot").returncode == 0
    sweep()
    assert bodies(full) == lying
    assert Upload.objects.get().id != upload["id"]
    assert Installation.objects.exclude(restored_at=None).exists()
    fsck("--adopt")
    assert {str(image.id) for image in Image.objects.all()} >= {upload["id"], staged}
    run("restore", "--confirm")
    sweep()
    assert fsck("--content") == HEALTHY
    assert not Upload.objects.filter(id=waiting["id"], state="announced").exists()


# --- what a restore refuses -----------------------------------------------------------------------


def test_a_database_or_a_bucket_with_something_in_it_is_left_alone(
    full: ImageStorage, place: Path
) -> None:
    run("backup", place)
    before, lying = everything(), bodies(full)
    assert "The database is not empty" in refused("restore", place)
    lose_database()
    full.keep(EPOCH_KEY, str(epoch()).encode(), content_type="text/plain")
    assert "has objects that are not of this backup" in refused("restore", place)
    assert bodies(full) == lying
    assert not Image.objects.exists()
    assert before
    assert "Say either" in refused("restore")
    assert "Say either" in refused("restore", place, "--confirm")


def test_an_account_that_somebody_uses_meanwhile_stops_it(
    full: ImageStorage, place: Path, plans: Path, alice: User
) -> None:
    run("backup", place)
    lose_database()
    emptied(full)
    with meanwhile(plans, "object_put_back", "restore", place) as said:
        ApiKey.objects.mint(User.objects.get(), scopes=["read"])
    assert "The database is not empty" in said[-1]
    assert User.objects.get().username == "admin"


def test_a_backup_of_other_migrations_is_refused(full: ImageStorage, place: Path) -> None:
    run("backup", place)
    manifest, last = place / "backup.json", rows.migrations()["media_api"]
    manifest.write_text(manifest.read_text().replace(last, f"{last}_other"))
    lose_database()
    assert f"media_api {last}_other" in refused("restore", place)


# --- as it is told in docs/operate.md -------------------------------------------------------------


def test_the_embedded_service_loses_its_database_and_then_everything(
    tmp_path: Path, place: Path
) -> None:
    service = Service(tmp_path / "data", port=free_port("127.0.0.1"), WEB_WORKERS="1")
    try:
        service.start()
        service.wait_for(READY)
        key = service.manage("apikey", "create", "admin", "--scope", "read", "--scope", "write")
        body = pictures.jpeg()
        address = f"http://localhost:{service.port}{API}/images"
        headers = {"Authorization": f"Bearer {key.stdout.strip()}"}
        files = {"file": ("sea.jpg", body, "image/jpeg")}
        assert httpx2.post(f"{address}?wait=20", files=files, headers=headers).status_code == 201
        assert service.manage("backup", str(place)).returncode == 0

        service.stop()
        shutil.rmtree(service.data / "postgres")
        service.start()
        service.wait_for(READY)
        adopted = service.manage("fsck", "--adopt", "--json")
        assert {json.loads(line)["done"] for line in adopted.stdout.splitlines()} == {"adopted"}
        assert service.manage("fsck", "--content").returncode == 0

        service.stop()
        for folder in "postgres", "bucket":
            shutil.rmtree(service.data / folder)
        service.start()
        service.wait_for(READY)
        restored = service.manage("restore", str(place))
        assert restored.returncode == 0, restored.stderr
        assert service.manage("fsck", "--content").returncode == 0
        assert service.manage("restore", "--confirm").returncode == 0
        listed = httpx2.get(address, headers=headers).json()["results"]
        assert [image["name"] for image in listed] == ["sea.jpg"]
        assert httpx2.get(listed[0]["original"]["url"]).content == body
    finally:
        service.kill()
