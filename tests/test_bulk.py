"""Many images at once: each id gets an answer of its own."""

from collections.abc import Callable
from functools import partial
from typing import Any

import httpx2
import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from media_api import images
from media_api.models import Image, PendingDeletion, uuid7
from media_api.storage import ImageStorage
from tests import pictures
from tests.conftest import Work, client_of, objects
from tests.sending import API, read, refusal
from tests.test_lists import image

Keep = Callable[..., Image]

ACTIONS = ["delete", "restore", "tags", "links"]


def do(api: APIClient, action: str, ids: list[Any], **rest: Any) -> list[dict[str, Any]]:
    answer = api.post(
        f"{API}/images/{action}", {"ids": [str(one) for one in ids], **rest}, format="json"
    )
    assert answer.status_code == 200, answer.content
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


def test_many_go_into_the_trash_and_back(api: APIClient, alice: User, keep: Keep) -> None:
    one, two, three = (keep(alice).id for _ in range(3))
    assert do(api, "delete", [two, one]) == [
        {"id": str(two), "status": 204},
        {"id": str(one), "status": 204},
    ]
    assert {row["id"] for row in api.get(f"{API}/images/trash").json()["results"]} == {
        str(one),
        str(two),
    }
    assert do(api, "restore", [one, three]) == [
        {"id": str(one), "status": 200},
        {"id": str(three), "status": 200},
    ]
    assert Image.objects.present().count() == 2


def test_many_are_deleted_for_good(
    api: APIClient, alice: User, keep: Keep, work: Work, storage: ImageStorage
) -> None:
    images = [keep(alice) for _ in range(3)]
    do(api, "delete", [images[0].id])
    link = read(api, str(images[0].id))["original"]["url"]
    answer = api.post(
        f"{API}/images/delete?permanent=true",
        {"ids": [str(image.id) for image in images[:2]]},
        format="json",
    )
    assert [result["status"] for result in answer.json()["results"]] == [204, 204]
    assert list(Image.objects.all()) == [images[2]]
    work()
    assert httpx2.get(link).status_code == 404
    assert {key.split("/")[1] for key in objects(storage)} == {str(images[2].id)}


def test_tags_of_many_are_added_and_removed(
    api: APIClient, alice: User, keep: Keep, work: Work, storage: ImageStorage
) -> None:
    one, two = keep(alice, tags=("cat", "old")), keep(alice, tags=("dog",))
    trashed = keep(alice)
    do(api, "delete", [trashed.id])
    results = do(api, "tags", [one.id, two.id, trashed.id], add=["new", "cat"], remove=["old", "x"])
    assert [result["status"] for result in results] == [200, 200, 409]
    assert results[2]["code"] == "trashed"
    tags = {str(image.id): image.tags for image in Image.objects.all()}
    assert tags == {
        str(one.id): ["cat", "new"],
        str(two.id): ["dog", "new", "cat"],
        str(trashed.id): [],
    }
    work()
    assert '"new"' in storage.read(f"images/{one.id}/image.json").decode()


def test_tags_that_change_nothing_leave_the_version(
    api: APIClient, alice: User, keep: Keep
) -> None:
    image = keep(alice, tags=("cat",))
    do(api, "tags", [image.id], add=["cat"], remove=["dog"])
    do(api, "tags", [image.id])
    assert Image.objects.get().version == 1


def test_no_image_gets_more_tags_than_one_may_have(api: APIClient, alice: User, keep: Keep) -> None:
    image = keep(alice, tags=tuple(str(number) for number in range(32)))
    do(api, "tags", [image.id], add=["one more"])
    assert len(Image.objects.get().tags) == 32
    assert (
        api.patch(f"{API}/images/{image.id}", {"tags": image.tags}, format="json").status_code
        == 200
    )


def test_links_of_many(api: APIClient, alice: User, keep: Keep) -> None:
    body = pictures.jpeg(700, 500)
    image = keep(alice, body)
    (original,) = do(api, "links", [image.id])
    (rendition,) = do(api, "links", [image.id], side=500)
    known = read(api, str(image.id))
    assert original == {"id": str(image.id), "status": 200, **known["original"]}
    assert rendition["url"] == known["renditions"][1]["url"]
    assert httpx2.get(original["url"]).content == body


def test_links_are_for_who_may_only_read(alice: User, keep: Keep, storage: ImageStorage) -> None:
    reader, image = client_of(alice, "read"), keep(alice)
    assert do(reader, "links", [image.id])[0]["status"] == 200
    for action in "delete", "restore", "tags":
        answer = reader.post(f"{API}/images/{action}", {"ids": [str(image.id)]}, format="json")
        assert refusal(answer) == (403, "forbidden")
    assert Image.objects.present().count() == 1


@pytest.mark.parametrize("action", ACTIONS)
def test_what_is_no_image_of_yours_is_not_found(
    api: APIClient, alice: User, mallory: User, keep: Keep, action: str
) -> None:
    own, others = keep(alice), keep(mallory)
    results = do(api, action, [others.id, own.id, uuid7(), "cat", "x", own.id])
    assert [(result["status"], result.get("code")) for result in results] == [
        (404, "not_found"),
        ({"delete": 204}.get(action, 200), None),
        (404, "not_found"),
        (404, "not_found"),
        (404, "not_found"),
    ]
    others.refresh_from_db()
    assert (others.trashed_at, others.tags, others.version) == (None, [], 1)


def test_nothing_of_many_is_yours(api: APIClient, mallory: User, keep: Keep) -> None:
    others = keep(mallory)
    ids = {"ids": [str(others.id)]}
    answer = api.post(f"{API}/images/delete?permanent=true", ids, format="json")
    assert answer.json()["results"][0]["status"] == 404
    assert Image.objects.count() == 1


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(
    "ids", [[], None, "x", [["x"]], [None], ["x" * 37], ["a\0b"], [str(n) for n in range(1001)]]
)
def test_lists_of_ids_that_are_not_allowed(api: APIClient, action: str, ids: Any) -> None:
    answer = api.post(f"{API}/images/{action}", {"ids": ids}, format="json")
    assert refusal(answer) == (422, "invalid")
    assert all(error["pointer"].startswith("/ids") for error in answer.json()["errors"])


@pytest.mark.parametrize("action", [*ACTIONS, "delete?permanent=true"])
def test_a_thousand_cost_no_more_queries_than_two(api: APIClient, alice: User, action: str) -> None:
    rows = [image(alice).id for _ in range(1002)]
    do(api, "links", [uuid7()])
    few, many = (statements(partial(do, api, action, wanted)) for wanted in (rows[:2], rows[2:]))
    assert len(few) == len(many)


@pytest.mark.usefixtures("storage")
def test_a_thousand_are_deleted_by_five_statements_and_purged_by_five(
    api: APIClient, alice: User
) -> None:
    """Beside those about who asks and how often, and whether anything is removed for now."""
    rows = [image(alice).id for _ in range(1000)]
    deleting = statements(partial(do, api, "delete?permanent=true", rows))
    assert not Image.objects.exists()
    purging = statements(partial(images.purge, rows))
    assert not PendingDeletion.objects.filter(removed_at=None).exists()
    assert len([sql for sql in deleting if "_image" in sql or "procrastinate" in sql]) <= 5
    assert len([sql for sql in purging if "_pendingdeletion" in sql or "_image" in sql]) <= 5


def statements(do: Callable[[], object]) -> list[str]:
    with CaptureQueriesContext(connection) as seen:
        do()
    return [query["sql"] for query in seen]
