"""The checker finds what it is there to find: each violation is planted in a service that is well."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from typing import LiteralString

import pytest

from tests.chaos.checker import COLUMNS, Checker
from tests.chaos.clients import Client
from tests.chaos.history import Event, Picture, State
from tests.chaos.run import Run
from tests.services import BUCKET_NAME

NOBODY = "01990000-0000-7000-8000-000000000000"
ANSWER = Event("planter", "GET /images", "", 200, 0.1)

Plant = Callable[[Run], "Iterator[None]"]


@pytest.fixture(scope="module")
def well(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Pictures that were kept, one that was deleted for good, one that was refused."""
    run = Run(tmp_path_factory.mktemp("checker"), "rclone", seed="planted")
    client = Client("ann", run.deployment, run.history, run.seed)
    for _ in range(4):
        client.send()
    client.delete()
    client.send_a_bad_one()
    client.close()
    run.settle()
    assert run.found() == []
    yield run
    run.close()


def kept(run: Run) -> Picture:
    return next(picture for picture in run.history.pictures if picture.possible == {State.KEPT})


def deleted(run: Run) -> Picture:
    return next(picture for picture in run.history.pictures if picture.is_deleted)


# --- what can be planted, and taken away again ----------------------------------------------------


def with_object(run: Run, key: str, body: bytes | None) -> Iterator[None]:
    """Other bytes under this key, or none."""
    bucket, before = run.deployment.root, read(run, key)
    for content in (body, before):
        if content is None:
            bucket.remove_object(BUCKET_NAME, key)
        else:
            bucket.put_object(BUCKET_NAME, key, BytesIO(content), len(content))
        if content is body:
            yield


def read(run: Run, key: str) -> bytes | None:
    return Checker(run.deployment, run.history).read(key)


def with_row(
    run: Run, change: LiteralString, undo: LiteralString, *values: object
) -> Iterator[None]:
    run.deployment.execute(change, *values)
    yield
    run.deployment.execute(undo, *values)


def with_event(run: Run, event: Event) -> Iterator[None]:
    run.history.add(event)
    yield
    run.history.events.remove(event)


def with_line(run: Run, line: str) -> Iterator[None]:
    size = run.deployment.log.stat().st_size
    with run.deployment.log.open("a") as log:
        log.write(line)
    yield
    with run.deployment.log.open("r+") as log:
        log.truncate(size)


def an_acknowledged_image_was_never_kept(run: Run) -> Iterator[None]:
    picture = run.history.own(Picture("ann", "0" * 64, 1, frozenset({State.KEPT})))
    yield
    run.history.pictures.remove(picture)


def an_original_has_other_bytes(run: Run) -> Iterator[None]:
    picture = kept(run)
    return with_object(run, f"images/{picture.id}/original.jpg", bytes(picture.size))


def an_original_is_not_there(run: Run) -> Iterator[None]:
    return with_object(run, f"images/{kept(run).id}/original.jpg", None)


def a_client_was_surprised(run: Run) -> Iterator[None]:
    run.history.surprise("C1: an image that was acknowledged was answered 404")
    yield
    run.history.surprises.clear()


def what_was_deleted_is_answered(run: Run) -> Iterator[None]:
    picture = kept(run)
    picture.is_deleted = True
    yield
    picture.is_deleted = False


def of_what_was_deleted_there_is_an_object(run: Run) -> Iterator[None]:
    return with_object(run, f"images/{deleted(run).id}/320.webp", b"late")


def it_is_in_the_trash_and_nobody_put_it_there(run: Run) -> Iterator[None]:
    return with_row(
        run,
        "UPDATE media_api_image SET trashed_at = now() WHERE id = %s",
        "UPDATE media_api_image SET trashed_at = NULL WHERE id = %s",
        kept(run).id,
    )


def nobody_sent_it(run: Run) -> Iterator[None]:
    picture = kept(run)
    run.history.pictures.remove(picture)
    yield
    run.history.pictures.append(picture)


def it_is_there_twice(run: Run) -> Iterator[None]:
    first, second, *_ = (p for p in run.history.pictures if p.possible == {State.KEPT})
    rename = "UPDATE media_api_image SET sha256 = %s WHERE id = %s"
    run.deployment.execute(rename, first.sha256, second.id)
    yield
    run.deployment.execute(rename, second.sha256, second.id)


def its_tags_are_not_those_that_were_given(run: Run) -> Iterator[None]:
    return with_row(
        run,
        "UPDATE media_api_image SET tags = '{other}' WHERE id = %s",
        "UPDATE media_api_image SET tags = '{}' WHERE id = %s",
        kept(run).id,
    )


def a_rendition_is_not_there(run: Run) -> Iterator[None]:
    return with_object(run, f"images/{kept(run).id}/320.webp", None)


def a_rendition_has_other_bytes(run: Run) -> Iterator[None]:
    key = f"images/{kept(run).id}/320.webp"
    return with_object(run, key, bytes(len(read(run, key) or b"")))


def a_description_is_of_another_image(run: Run) -> Iterator[None]:
    return with_object(run, f"images/{kept(run).id}/image.json", b'{"name": "other"}')


def an_object_is_left_in_staging(run: Run) -> Iterator[None]:
    return with_object(run, f"staging/{NOBODY}", b"left over")


def an_object_is_left_of_an_image(run: Run) -> Iterator[None]:
    return with_object(run, f"images/{NOBODY}/320.webp", b"left over")


def a_job_is_never_done(run: Run) -> Iterator[None]:
    return with_row(
        run,
        "INSERT INTO procrastinate_jobs (queue_name, task_name, args, status)"
        " VALUES (%s, 'examine', '{}', 'doing')",
        "DELETE FROM procrastinate_jobs WHERE queue_name = %s",
        "planted",
    )


def a_deletion_is_never_done(run: Run) -> Iterator[None]:
    return with_row(
        run,
        "INSERT INTO media_api_pendingdeletion (id, due_at) VALUES (%s, 'infinity')",
        "DELETE FROM media_api_pendingdeletion WHERE id = %s",
        NOBODY,
    )


def removal_waits_for_somebody(run: Run) -> Iterator[None]:
    return with_row(
        run,
        "UPDATE media_api_installation SET restored_at = now() WHERE id = %s",
        "UPDATE media_api_installation SET restored_at = NULL WHERE id = %s",
        1,
    )


def the_sum_is_another(run: Run) -> Iterator[None]:
    return with_row(
        run,
        "UPDATE media_api_usage SET used = used + %s",
        "UPDATE media_api_usage SET used = used - %s",
        1,
    )


def a_request_failed(run: Run) -> Iterator[None]:
    return with_event(run, replace(ANSWER, status=500))


def nobody_said_when_to_come_again(run: Run) -> Iterator[None]:
    return with_event(run, replace(ANSWER, status=503))


def an_answer_took_too_long(run: Run) -> Iterator[None]:
    return with_event(run, replace(ANSWER, seconds=31))


def a_key_is_in_a_log(run: Run) -> Iterator[None]:
    return with_line(run, f"asked with {run.deployment.addresses.keys['ann']}\n")


def a_secret_of_the_store_is_in_a_log(run: Run) -> Iterator[None]:
    return with_line(run, f"signed with {run.deployment.store.credentials[1]}\n")


def a_signature_is_in_a_log(run: Run) -> Iterator[None]:
    return with_line(run, f"GET /x?X-Amz-Signature={'0' * 64}\n")


PLANTED: dict[Plant, set[str]] = {
    an_acknowledged_image_was_never_kept: {"C1"},
    an_original_has_other_bytes: {"C1", "C4"},
    an_original_is_not_there: {"C1", "C4"},
    a_client_was_surprised: {"C1"},
    what_was_deleted_is_answered: {"C2"},
    of_what_was_deleted_there_is_an_object: {"C2", "C5"},
    it_is_in_the_trash_and_nobody_put_it_there: {"C3"},
    nobody_sent_it: {"C3"},
    it_is_there_twice: {"C1", "C3", "C4"},
    its_tags_are_not_those_that_were_given: {"C3", "C4"},
    a_rendition_is_not_there: {"C4"},
    a_rendition_has_other_bytes: {"C4"},
    a_description_is_of_another_image: {"C4"},
    an_object_is_left_in_staging: {"C5"},
    an_object_is_left_of_an_image: {"C5"},
    a_job_is_never_done: {"C6"},
    a_deletion_is_never_done: {"C6"},
    removal_waits_for_somebody: {"C6"},
    the_sum_is_another: {"C7"},
    a_request_failed: {"C8"},
    nobody_said_when_to_come_again: {"C8"},
    an_answer_took_too_long: {"C8"},
    a_key_is_in_a_log: {"C9"},
    a_secret_of_the_store_is_in_a_log: {"C9"},
    a_signature_is_in_a_log: {"C9"},
}


def test_each_column_is_planted() -> None:
    assert set().union(*PLANTED.values()) == COLUMNS.keys()


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_what_is_planted_is_found(well: Run, plant: Plant) -> None:
    with contextmanager(plant)(well):
        assert {finding.partition(":")[0] for finding in well.found()} == PLANTED[plant]
    assert well.found() == []
