"""What staff sees: rows to look at, to search and to delete, and never a question to the bucket."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from media_api.models import ApiKey, Image, PendingDeletion, Upload
from media_api.storage import ImageStorage
from media_api.uploads import Announcement, announce

LISTS = ["image", "upload", "pendingdeletion", "apikey", "signinlink"]


@pytest.fixture
def staff() -> Client:
    User.objects.create_superuser("root", password="wonderland-9")
    client = Client()
    assert client.login(username="root", password="wonderland-9")
    return client


@pytest.fixture
def one_of_each(alice: User, keep: Callable[..., Image]) -> Image:
    image = keep(alice, name="cat.jpg", tags=("pets",))
    announce(alice, Announcement(name="dog.jpg", size=9, content_type="image/jpeg"))
    ApiKey.objects.mint(alice, scopes=["read"], name="laptop")
    keep(alice, name="gone.jpg").delete()
    return image


@pytest.fixture
def silence(storage: ImageStorage) -> Any:
    """From here on, whoever asks the bucket fails the test."""

    def refuse(**_: Any) -> None:
        raise AssertionError("a question to the bucket")

    def begin() -> None:
        events.register("before-send.s3", refuse)

    events = storage.client.meta.events
    yield begin
    events.unregister("before-send.s3", refuse)


@pytest.mark.parametrize("name", LISTS)
def test_lists_are_searched_without_the_bucket(
    staff: Client, one_of_each: Image, silence: Callable[[], None], name: str
) -> None:
    silence()
    for query in ("", "?q=cat", f"?q={one_of_each.id}"):
        assert staff.get(f"/admin/media_api/{name}/{query}").status_code == 200


def test_search_and_filters_find(staff: Client, one_of_each: Image) -> None:
    def found(query: str) -> int:
        return len(staff.get(f"/admin/media_api/image/?{query}").context["cl"].result_list)

    assert (found("q=cat"), found("q=alice"), found("q=nothing")) == (1, 1, 0)
    assert found(f"q={one_of_each.sha256}") == 1
    assert (found("trashed_at__isempty=1"), found("trashed_at__isempty=0")) == (1, 0)
    assert (found("content_type=image/jpeg"), found("content_type=image/png")) == (1, 0)


def test_a_longer_list_costs_no_more_queries(
    staff: Client, alice: User, storage: ImageStorage, keep: Callable[..., Image]
) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert staff.get("/admin/media_api/image/").status_code == 200
        return len(captured)

    keep(alice)
    queries()  # the first one also asks for content types
    few = queries()
    for _ in range(5):
        keep(alice)
    assert queries() == few


def test_a_deleted_image_leaves_a_pending_deletion(staff: Client, one_of_each: Image) -> None:
    answer = staff.post(
        "/admin/media_api/image/",
        {"action": "delete_selected", "_selected_action": [one_of_each.id], "post": "yes"},
    )
    assert answer.status_code == 302
    assert not Image.objects.filter(id=one_of_each.id).exists()
    assert PendingDeletion.objects.filter(id=one_of_each.id).exists()


def test_rows_are_looked_at_and_not_written(staff: Client, one_of_each: Image) -> None:
    upload = Upload.objects.get()
    for path in (f"image/{one_of_each.id}/change/", f"upload/{upload.id}/change/"):
        page = staff.get(f"/admin/media_api/{path}")
        assert page.status_code == 200
        assert b'name="_save"' not in page.content
        assert staff.post(f"/admin/media_api/{path}", {"name": "other"}).status_code == 403
    assert staff.get("/admin/media_api/image/add/").status_code == 403
    key = ApiKey.objects.get()
    assert key.digest.encode() not in staff.get(f"/admin/media_api/apikey/{key.id}/change/").content


def test_others_do_not_enter(client: Client, alice: User) -> None:
    client.force_login(alice)
    for name in LISTS:
        assert client.get(f"/admin/media_api/{name}/").status_code == 302
