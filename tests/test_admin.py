"""What staff sees: rows to look at, to search and to delete, and never a question to the bucket."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from media_api.models import ApiKey, Image, PendingDeletion, Quota, Upload, Usage
from media_api.storage import ImageStorage
from media_api.uploads import Announcement, announce

LISTS = ["image", "upload", "pendingdeletion", "apikey", "signinlink"]


@pytest.fixture
def staff() -> Client:
    ContentType.objects.clear_cache()  # the rows of the last test are gone
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


def test_staff_sets_a_quota_and_takes_it_away(staff: Client, alice: User) -> None:
    address = f"/admin/auth/user/{alice.id}/change/"
    announce(alice, Announcement(name="dog.jpg", size=1_234_567, content_type="image/jpeg"))

    def save(**fields: Any) -> Any:
        form = {
            "username": "alice",
            "date_joined_0": "2026-11-21",
            "date_joined_1": "05:00:00",
            "is_active": "on",
            "usage-TOTAL_FORMS": 0,
            "usage-INITIAL_FORMS": 0,
            "quota-TOTAL_FORMS": 1,
            "quota-INITIAL_FORMS": Quota.objects.count(),
            "quota-0-owner": alice.id,
            **{f"quota-0-{name}": value for name, value in fields.items()},
        }
        return staff.post(address, form)

    page = staff.get(address)
    assert b"1234567" in page.content or b"1,234,567" in page.content
    assert save(size="").status_code == 302
    assert not Quota.objects.exists()
    assert save(size="-1").status_code == 200
    assert not Quota.objects.exists()
    assert save(size="2000000").status_code == 302
    assert Quota.objects.get(owner=alice).size == 2_000_000
    assert save(size="0").status_code == 302
    assert Quota.objects.get(owner=alice).size == 0
    assert save(size="0", DELETE="on").status_code == 302
    assert not Quota.objects.exists()


def test_staff_deletes_an_account(
    staff: Client, alice: User, mallory: User, keep: Callable[..., Image]
) -> None:
    keep(alice)
    for owner in (alice, mallory):
        announce(owner, Announcement(name="dog.jpg", size=100, content_type="image/jpeg"))
    Quota.objects.create(owner=alice, size=9)
    assert staff.post(f"/admin/auth/user/{alice.id}/delete/", {"post": "yes"}).status_code == 302
    assert not User.objects.filter(username="alice").exists()
    assert list(Usage.objects.values_list("owner__username", "used")) == [("mallory", 100)]


def test_others_do_not_enter(client: Client, alice: User) -> None:
    client.force_login(alice)
    for name in LISTS:
        assert client.get(f"/admin/media_api/{name}/").status_code == 302
