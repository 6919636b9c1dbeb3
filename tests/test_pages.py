"""The pages as people use them without JavaScript: happy path, refusals, the stranger, the parts being down."""

import re
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from html import unescape
from time import monotonic
from typing import Any
from urllib.request import urlopen

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.db.models import BooleanField
from django.db.models.expressions import RawSQL
from django.http import HttpRequest
from django.test import Client
from django.urls import path
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from media_api.exceptions import Refusal
from media_api.models import ApiKey, Image, SignInLink, Upload
from media_api.storage import ImageStorage
from media_api.uploads import Announcement, announce
from project import urls
from tests import pictures
from tests.conftest import Work, store_down
from web.views import gallery
from web.views.docs import all_refusals
from web.views.uploads import MAX_FILES

Keep = Callable[..., Image]
Answer = Any  # of Django's test client


@pytest.fixture
def pages(alice: User, storage: ImageStorage) -> Client:
    """Alice's browser."""
    client = Client()
    client.force_login(alice)
    return client


@pytest.fixture
def stranger(mallory: User) -> Client:
    client = Client()
    client.force_login(mallory)
    return client


def text(answer: Answer) -> str:
    """What a page says, without its tags."""
    words = re.sub(r"<[^>]+>", " ", answer.content.decode())
    return " ".join(unescape(words).split())


def main(answer: Answer) -> str:
    found = re.search(r"<main.*</main>", answer.content.decode(), re.DOTALL)
    assert found
    return unescape(found[0])


def file(name: str, body: bytes) -> SimpleUploadedFile:
    return SimpleUploadedFile(name, body, "image/jpeg")


# --- every page -----------------------------------------------------------------------------------

NOBODYS = uuid.UUID("01900000-0000-7000-8000-000000000000")
PLACES = ["/", "/upload/", "/uploads/", "/trash/", "/keys/", "/account/", "/account/password/"]
OF_IMAGE = [
    *("/images/{}/", "/images/{}/edit/", "/images/{}/delete/"),
    *("/i/{}/original", "/i/{}/stripped", "/i/{}/320"),
]


@pytest.mark.parametrize("address", [*PLACES, *OF_IMAGE, "/trash/empty/", "/uploads/{}/"])
def test_who_is_not_signed_in_is_asked_to_and_comes_back(address: str) -> None:
    address = address.format(NOBODYS)
    answer = Client().get(address)
    assert (answer.status_code, answer["Location"]) == (302, f"/login/?next={address}")


def test_a_form_of_who_is_not_signed_in_changes_nothing(alice: User, keep: Keep) -> None:
    image = keep(alice)
    answer = Client().post(f"/images/{image.id}/delete/", {"how": "permanent"})
    assert (answer.status_code, answer["Location"]) == (302, "/login/")
    assert Image.objects.filter(id=image.id).exists()


def test_each_page_has_navigation_and_nothing_inline(
    pages: Client, alice: User, keep: Keep
) -> None:
    image = keep(alice, tags=("holiday",))
    key, _ = ApiKey.objects.mint(alice, scopes=["read"])
    upload = announce(alice, Announcement("dog.jpg", 10, "image/jpeg"))
    addresses = [
        *PLACES,
        *(address.format(image.id) for address in OF_IMAGE if address.startswith("/images/")),
        f"/keys/{key.id}/revoke/",
        f"/uploads/{upload.id}/",
        "/api/docs/",
        "/api/docs/errors/",
        "/nothing/",
    ]
    for address in addresses:
        page = pages.get(address).content.decode()
        assert '<nav class="places"' in page, address
        assert 'href="/upload/"' in page, address
        assert '<html lang="en">' in page, address
        assert page.count("<h1") == 1, address
        assert not re.search(r"\sstyle=|<style|\son\w+=|<script(?![^>]*src=)", page), address
    for address in (*PLACES[:6], f"/images/{image.id}/"):
        assert "curl" in pages.get(address).content.decode(), address


def test_pages_are_on_localhost_and_the_api_on_both_names() -> None:
    client = Client(headers={"host": "127.0.0.1:8000"})
    answer = client.get("/images/?q=a")
    assert (answer.status_code, answer["Location"]) == (302, "http://localhost:8000/images/?q=a")
    assert client.get("/api/v1/openapi.json").status_code == 200
    assert client.get("/livez").status_code == 200


# --- gallery --------------------------------------------------------------------------------------


def test_the_gallery_is_empty_at_first(pages: Client) -> None:
    assert "Your first picture goes here" in text(pages.get("/"))


def test_the_gallery_shows_renditions_that_hold_their_place(
    pages: Client, alice: User, keep: Keep
) -> None:
    image = keep(alice, pictures.jpeg(800, 600))
    page = main(pages.get("/"))
    picture = re.search(r'<img class="picture"[^>]*>', page)
    assert picture
    assert 'width="800" height="600"' in picture[0]
    assert re.search(
        r'srcset="http://\S+/320.webp\S+ 320w, http://\S+/640.webp\S+ 640w"', picture[0]
    )
    assert "shape-135" in page
    assert f'src="{image.placeholder}"' in page
    assert "Today" in page
    assert "1 picture" in page


def test_the_gallery_is_narrowed(pages: Client, alice: User, keep: Keep) -> None:
    keep(alice, name="beach.jpg", tags=("holiday", "sea"))
    keep(alice, pictures.png(), name="hills.png", tags=("holiday",))
    for query, names in {
        "q=bea": ["beach.jpg"],
        "type=png": ["hills.png"],
        "tag=holiday": ["beach.jpg", "hills.png"],
        "tag=holiday&tag=sea": ["beach.jpg"],
        "q=holiday&order=name": ["beach.jpg", "hills.png"],
    }.items():
        page = main(pages.get(f"/?{query}"))
        shown = [name for name in ("beach.jpg", "hills.png") if f'alt="{name}"' in page]
        assert shown == names, query
    nothing = pages.get("/?q=castle&type=gif&tag=sea")
    assert "Nothing matches" in text(nothing)
    assert "castle" in text(nothing)
    assert "Show all pictures" in text(nothing)


def test_the_gallery_is_ordered(pages: Client, alice: User, keep: Keep) -> None:
    for name in ("b.jpg", "c.jpg", "a.jpg"):
        keep(alice, name=name)

    def names(order: str) -> list[str]:
        page = main(pages.get(f"/?order={order}"))
        return re.findall(r'alt="(\w).jpg"', page)

    assert names("-date") == ["a", "c", "b"]
    assert names("date") == ["b", "c", "a"]
    assert names("name") == ["a", "b", "c"]
    assert names("nonsense") == ["a", "c", "b"]


def test_the_gallery_is_divided_into_days(pages: Client, alice: User, keep: Keep) -> None:
    today = timezone.now()
    for days in (0, 1, 3, 1000):
        image = keep(alice)
        Image.objects.filter(id=image.id).update(date=today - timedelta(days=days))
    headings = re.findall(r'<h2 class="day">([^<]+)', main(pages.get("/")))
    assert headings[:2] == ["Today", "Yesterday"]
    assert re.fullmatch(r"\w+day, \d+ \w+|\d+ \w+ \d{4}", headings[2])
    assert re.fullmatch(r"\d+ \w+ \d{4}", headings[3])
    assert not re.search('class="day"', main(pages.get("/?order=name")))


def test_the_gallery_has_pages(pages: Client, alice: User, keep: Keep) -> None:
    for number in range(3):
        keep(alice, name=f"{number}.jpg")
    first = main(pages.get("/?limit=2"))
    assert ('alt="2.jpg"' in first, 'alt="0.jpg"' in first) == (True, False)
    older = re.search(r'rel="next" href="([^"]+)">Older', first)
    assert older
    second = main(pages.get(f"/{older[1]}"))
    assert ('alt="2.jpg"' in second, 'alt="0.jpg"' in second) == (False, True)
    newer = re.search(r'rel="prev" href="([^"]+)">Newer', second)
    assert newer
    assert 'alt="2.jpg"' in main(pages.get(f"/{newer[1]}"))


@pytest.mark.parametrize("query", ["cursor=nonsense", "type=svg", "limit=1000"])
def test_an_address_that_is_not_ours_is_told(pages: Client, query: str) -> None:
    answer = pages.get(f"/?{query}")
    assert answer.status_code == 422
    assert "This address says something unknown" in text(answer)


def test_lists_cost_the_same_at_any_size(
    pages: Client, alice: User, keep: Keep, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(4):
        keep(alice, tags=(f"tag{number}",))
    for _ in range(4):
        announce(alice, Announcement("dog.jpg", 10, "image/jpeg"))
    for address, queries in {"/": 8, "/uploads/": 5, "/trash/": 5}.items():
        for limit in (1, 4):
            with django_assert_num_queries(queries):
                pages.get(f"{address}?limit={limit}")
        Image.objects.update(trashed_at="2026-01-01T00:00Z")


def test_a_gallery_counts_up_to_a_number(
    pages: Client, alice: User, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery, "MOST_COUNTED", 2)
    keep(alice)
    assert "1 picture " in text(pages.get("/"))
    keep(alice)
    assert "2 pictures or more" in text(pages.get("/"))


def test_a_gallery_waits_for_no_number(alice: User, keep: Keep) -> None:
    keep(alice)
    slow = Image.objects.filter(RawSQL("pg_sleep(5)::text = ''", [], output_field=BooleanField()))
    began = monotonic()
    assert gallery.count(slow) is None
    assert monotonic() - began < 4
    assert gallery.count(Image.objects.all()) == 1


def test_lists_do_not_need_the_bucket(pages: Client, alice: User, keep: Keep) -> None:
    image = keep(alice)
    with store_down():
        assert pages.get("/").status_code == 200
        assert pages.get(f"/images/{image.id}/").status_code == 200


# --- upload ---------------------------------------------------------------------------------------


def test_pictures_are_sent_by_a_plain_form(pages: Client, work: Work) -> None:
    form = {"file": [file("cat.jpg", pictures.jpeg()), file("cat.jpg", pictures.png())]}
    answer = pages.post("/upload/", form)
    assert (answer.status_code, answer["Location"]) == (302, "/uploads/")
    under_way = pages.get("/uploads/")
    assert "2 pictures have arrived." in text(under_way)
    assert "is being looked at" in text(under_way)
    assert 'http-equiv="refresh"' in under_way.content.decode()
    work()
    done = pages.get("/uploads/")
    assert "Just kept" in text(done)
    assert 'http-equiv="refresh"' not in done.content.decode()
    assert text(pages.get("/")).count("2 pictures") == 1


def test_what_is_wrong_with_one_file_is_told_and_the_others_are_taken(
    pages: Client, settings: Settings
) -> None:
    settings.MAX_UPLOAD_SIZE = 5000
    form = {
        "file": [
            file("empty.jpg", b""),
            file("large.jpg", bytes(5001)),
            file("cat.jpg", pictures.jpeg()),
        ]
    }
    said = text(pages.post("/upload/", form, follow=True))
    assert "empty.jpg was not kept. The file is empty." in said
    assert "large.jpg was not kept. It is larger than 5,000 bytes." in said
    assert "1 picture has arrived." in said


def test_more_files_than_a_form_takes(pages: Client) -> None:
    form = {"file": [file(f"{n}.jpg", pictures.jpeg(8, 8)) for n in range(MAX_FILES + 1)]}
    said = text(pages.post("/upload/", form, follow=True))
    assert f"{MAX_FILES}.jpg was not kept. One form takes {MAX_FILES} pictures." in said
    assert Upload.objects.count() == MAX_FILES


def test_a_form_without_a_file(pages: Client) -> None:
    answer = pages.post("/upload/")
    assert answer.status_code == 422
    assert "Choose at least one picture. Nothing was sent." in text(answer)


def test_a_long_body_is_refused_before_it_is_read(pages: Client) -> None:
    too_long = str(settings.MAX_UPLOAD_SIZE * MAX_FILES + 10_000_000)
    for address, length in (("/upload/", too_long), ("/account/password/", "2000000")):
        answer = pages.post(address, CONTENT_LENGTH=length)
        assert answer.status_code == 413
        assert "That is too much at once" in text(answer)
    assert pages.post("/upload/", CONTENT_LENGTH="").status_code == 411


def test_the_store_is_down_during_an_upload(pages: Client) -> None:
    with store_down():
        form = {"file": [file(f"{n}.jpg", pictures.jpeg()) for n in range(2)]}
        said = text(pages.post("/upload/", form, follow=True))
    for n in range(2):
        assert f"{n}.jpg was not kept. The image store does not answer" in said
    assert not Upload.objects.exists()


def test_a_refusal_is_told_with_its_reason(pages: Client, work: Work) -> None:
    pages.post("/upload/", {"file": file("cat.jpg", pictures.truncated(pictures.jpeg(300, 300)))})
    work()
    upload = Upload.objects.get()
    for address in ("/uploads/", f"/uploads/{upload.id}/"):
        said = text(pages.get(address))
        assert "Not kept. It ends too early" in said
        assert "Choose it again" in said
    said = text(pages.post(f"/uploads/{upload.id}/", follow=True))
    assert "cat.jpg was withdrawn" in said
    assert "Nothing is under way" in said


def test_an_upload_is_withdrawn(pages: Client, storage: ImageStorage) -> None:
    pages.post("/upload/", {"file": file("cat.jpg", pictures.jpeg())})
    upload = Upload.objects.get()
    assert "Withdraw" in text(pages.get(f"/uploads/{upload.id}/"))
    assert pages.post(f"/uploads/{upload.id}/")["Location"] == "/uploads/"
    assert not Upload.objects.exists()
    assert storage.size_of(upload.key) is None


def test_a_kept_upload_leads_to_its_image(pages: Client, alice: User, keep: Keep) -> None:
    image = keep(alice)
    assert pages.get(f"/uploads/{image.id}/")["Location"] == f"/images/{image.id}/"


def test_what_is_announced_says_until_when(pages: Client, alice: User) -> None:
    upload = announce(alice, Announcement("cat.jpg", 10, "image/jpeg"))
    assert "Waiting for the rest of its bytes" in text(pages.get(f"/uploads/{upload.id}/"))
    Upload.objects.update(state="expired")
    assert "The time to send it was over" in text(pages.get(f"/uploads/{upload.id}/"))


# --- one image ------------------------------------------------------------------------------------


def test_the_image_page_tells_what_is_known(pages: Client, alice: User, keep: Keep) -> None:
    image = keep(alice, pictures.jpeg(800, 600), name="<b>cat</b>.jpg", tags=("holiday",))
    answer = pages.get(f"/images/{image.id}/")
    said = text(answer)
    for fact in ("<b>cat</b>.jpg", "800 \u00d7 600", "JPEG", "#holiday", image.sha256):
        assert fact in said
    assert b"<b>cat</b>" not in answer.content
    assert f"{settings.PUBLIC_URL}/i/{image.id}/640" in main(answer)


def test_the_links_of_an_image_work_as_they_say(pages: Client, alice: User, keep: Keep) -> None:
    body = pictures.jpeg(800, 600)
    image = keep(alice, body)
    page = main(pages.get(f"/images/{image.id}/"))
    found = re.search(r'aria-label="Original, link" value="(http://\S+X-Amz-\S+)"', page)
    assert found
    with urlopen(found[1]) as original:
        assert original.read() == body
    assert f"![cat.jpg]({settings.PUBLIC_URL}/i/{image.id}/original)" in page
    assert f'<img src="{settings.PUBLIC_URL}/i/{image.id}/320" alt="cat.jpg" width="320"' in page
    for address, kind in (
        ("original", "image/jpeg"),
        ("320", "image/webp"),
        ("5000", "image/webp"),
    ):
        answer = pages.get(f"/i/{image.id}/{address}")
        assert answer.status_code == 302
        with urlopen(answer["Location"]) as shown:
            assert shown.headers["Content-Type"] == kind
    saved = pages.get(f"/i/{image.id}/original?download=true")["Location"]
    with urlopen(saved) as download:
        assert download.headers["Content-Disposition"].startswith("attachment")


def test_download_leaves_metadata_out_unless_the_original_is_asked_for(
    pages: Client, alice: User, keep: Keep
) -> None:
    body = pictures.jpeg(comment="a secret")
    image = keep(alice, body)
    page = main(pages.get(f"/images/{image.id}/"))
    downloads = re.findall(r'href="(/i/\S+download=true)">(.*?)</a>', page)
    assert [words for _, words in downloads] == ["Download", "Download the original"]
    stripped, original = (urlopen(pages.get(address)["Location"]) for address, _ in downloads)
    with stripped, original:
        assert stripped.read() == pictures.jpeg()
        assert original.read() == body
        for saved in (stripped, original):
            assert 'filename="cat.jpg"' in saved.headers["Content-Disposition"]


def test_where_there_is_no_metadata_there_is_no_choice(
    pages: Client, alice: User, keep: Keep
) -> None:
    image = keep(alice)
    page = main(pages.get(f"/images/{image.id}/"))
    assert page.count("Download") == 1
    (address,) = re.findall(r'href="(/i/\S+download=true)"', page)
    with urlopen(pages.get(address)["Location"]) as saved:
        assert saved.read() == pictures.jpeg()


def test_an_animation_plays(pages: Client, alice: User, keep: Keep) -> None:
    image = keep(alice, pictures.gif(frames=3))
    page = main(pages.get(f"/images/{image.id}/"))
    assert re.search(r'class="picture" src="\S+/original.gif', page)
    assert "3 frames" in page


def test_an_image_names_its_copies_and_its_neighbours(
    pages: Client, alice: User, keep: Keep
) -> None:
    first, other, last = (keep(alice, pictures.jpeg(seed=n % 2), name=f"{n}.jpg") for n in range(3))
    page = main(pages.get(f"/images/{first.id}/"))
    assert f'href="/images/{last.id}/">2.jpg</a>' in page
    page = main(pages.get(f"/images/{other.id}/?order=name"))
    assert re.search(rf'rel="prev"[^>]*href="/images/{first.id}/\?order=name"', page)
    assert re.search(rf'rel="next"[^>]*href="/images/{last.id}/\?order=name"', page)
    page = main(pages.get(f"/images/{other.id}/?q=1.jpg"))
    assert 'rel="next"' not in page


def test_labels_are_changed(pages: Client, alice: User, keep: Keep) -> None:
    image = keep(alice, tags=("old",))
    assert 'value="old"' in main(pages.get(f"/images/{image.id}/edit/"))
    form = {"name": " Cafe\u0301.jpg ", "tags": "sea, sun,,sea"}
    answer = pages.post(f"/images/{image.id}/edit/", form, follow=True)
    assert "Saved." in text(answer)
    image.refresh_from_db()
    assert (image.name, image.tags) == ("Café.jpg", ["sea", "sun"])


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ({"name": ""}, "A picture needs a name."),
        ({"name": "a" * 256}, "at most 255 characters"),
        ({"name": "a", "tags": ",".join(map(str, range(33)))}, "at most 32 tags; these are 33"),
        ({"name": "a", "tags": "a" * 65}, "A tag has at most 64 characters."),
        ({"name": "a", "tags": "a\u200bb"}, "no control characters"),
    ],
)
def test_labels_that_are_not_allowed(
    pages: Client, alice: User, keep: Keep, form: dict[str, str], sentence: str
) -> None:
    image = keep(alice)
    answer = pages.post(f"/images/{image.id}/edit/", form)
    assert answer.status_code == 422
    assert sentence in text(answer)
    assert f'value="{form["name"][:300]}"' in main(answer) or not form["name"]
    image.refresh_from_db()
    assert image.version == 1


def test_into_the_trash_and_back(pages: Client, alice: User, keep: Keep) -> None:
    image = keep(alice)
    answer = pages.post(f"/images/{image.id}/delete/", {"how": "trash"}, follow=True)
    assert "cat.jpg is in the trash." in text(answer)
    undo = re.search(r'action="([^"]+)">.*?<button class="quiet">Undo', main(answer), re.DOTALL)
    assert undo
    assert "1 picture" not in text(pages.get("/"))
    assert "gone for good in 30 days" in text(pages.get("/trash/"))
    assert "in the trash" in text(pages.get(f"/images/{image.id}/"))
    assert pages.get(f"/images/{image.id}/edit/")["Location"] == f"/images/{image.id}/"
    assert "back in the gallery" in text(pages.post(undo[1], follow=True))
    assert "1 picture" in text(pages.get("/"))


def test_for_good(pages: Client, alice: User, keep: Keep) -> None:
    image = keep(alice)
    assert "This cannot be undone" in text(pages.get(f"/images/{image.id}/delete/"))
    assert Image.objects.exists()
    answer = pages.post(f"/images/{image.id}/delete/", {"how": "permanent"}, follow=True)
    assert "cat.jpg was deleted for good." in text(answer)
    assert not Image.objects.exists()


def test_the_trash_is_emptied(pages: Client, alice: User, keep: Keep) -> None:
    kept, *thrown = (keep(alice) for _ in range(3))
    assert "The trash is empty" in text(pages.get("/trash/"))
    assert pages.get("/trash/empty/")["Location"] == "/trash/"
    for image in thrown:
        pages.post(f"/images/{image.id}/delete/", {"how": "trash"})
    assert "Delete 2 pictures for good?" in text(pages.get("/trash/empty/"))
    assert "2 pictures were deleted for good." in text(pages.post("/trash/empty/", follow=True))
    assert Image.objects.get() == kept


def test_a_picture_in_the_trash_is_deleted_from_there(
    pages: Client, alice: User, keep: Keep
) -> None:
    image = keep(alice)
    pages.post(f"/images/{image.id}/delete/", {"how": "trash"})
    page = text(pages.get(f"/images/{image.id}/delete/"))
    assert "Move to trash" not in page
    answer = pages.post(f"/images/{image.id}/delete/", {"how": "permanent"})
    assert answer["Location"] == "/trash/"


# --- the stranger ---------------------------------------------------------------------------------


def test_i6_what_is_not_yours_does_not_exist(stranger: Client, alice: User, keep: Keep) -> None:
    image = keep(alice, name="rabbit.jpg")
    upload = announce(alice, Announcement("dog.jpg", 10, "image/jpeg"))
    key, _ = ApiKey.objects.mint(alice, scopes=["read"])
    mine = [
        *(address.format(image.id) for address in OF_IMAGE),
        f"/uploads/{upload.id}/",
        f"/keys/{key.id}/revoke/",
    ]
    for address in mine:
        theirs = stranger.get(address)
        assert theirs.status_code == 404, address
        nobodys = stranger.get(re.sub(r"[0-9a-f-]{36}", str(NOBODYS), address))
        assert text(theirs).split("Request")[0] == text(nobodys).split("Request")[0]
    posts = [f"/images/{image.id}/{what}/" for what in ("edit", "delete", "restore")]
    for address in (*posts, f"/uploads/{upload.id}/", f"/keys/{key.id}/revoke/"):
        assert stranger.post(address, {"how": "permanent", "name": "x"}).status_code == 404, address
    assert "rabbit.jpg" not in text(stranger.get("/"))
    assert "dog.jpg" not in text(stranger.get("/uploads/"))
    assert (Image.objects.count(), Upload.objects.count(), ApiKey.objects.count()) == (1, 1, 1)


# --- keys and account -----------------------------------------------------------------------------


def test_a_key_is_shown_once_and_revoked(pages: Client) -> None:
    form = {"name": "phone", "scopes": ["read", "write"]}
    answer = pages.post("/keys/", form)
    found = re.search(r"sbx_\w{8}_[\w-]+", main(answer))
    assert found
    assert "no-store" in answer["Cache-Control"]
    headers = {"Authorization": f"Bearer {found[0]}"}
    assert Client(headers=headers).get("/api/v1/account").status_code == 200
    again = pages.get("/keys/")
    assert found[0] not in main(again)
    assert "phone" in text(again)
    key = ApiKey.objects.get()
    assert "Revoke this key?" in text(pages.get(f"/keys/{key.id}/revoke/"))
    assert "was revoked" in text(pages.post(f"/keys/{key.id}/revoke/", follow=True))
    assert Client(headers=headers).get("/api/v1/account").status_code == 401


def test_a_key_must_be_for_something(pages: Client) -> None:
    answer = pages.post("/keys/", {"name": "phone"})
    assert answer.status_code == 422
    assert "Choose at least one thing that the key may do." in text(answer)
    assert 'value="phone"' in main(answer)


def test_the_account_says_what_is_there(pages: Client, alice: User, keep: Keep) -> None:
    keep(alice, pictures.large(1_500_000))
    said = text(pages.get("/account/"))
    assert "alice" in said
    assert "1.5 MB" in said


def test_the_password_is_changed(pages: Client, alice: User) -> None:
    form = {"new_password1": "looking-glass-9", "new_password2": "looking-glass-9"}
    refused = pages.post("/account/password/", {**form, "old_password": "wrong"})
    assert "That did not work" in text(refused)
    answer = pages.post("/account/password/", {**form, "old_password": "wonderland-7"}, follow=True)
    assert "The new password is set." in text(answer)
    assert Client().login(username="alice", password="looking-glass-9")


def test_a_new_password_signs_other_devices_out(pages: Client, alice: User) -> None:
    other = Client()
    other.force_login(alice)
    link = SignInLink.objects.mint(alice)
    new = {"new_password1": "looking-glass-9", "new_password2": "looking-glass-9"}
    pages.post("/account/password/", {**new, "old_password": "wonderland-7"})
    assert pages.get("/").status_code == 200
    assert other.get("/").status_code == 302
    assert not SignInLink.objects.alive(link).exists()


def test_other_devices_are_signed_out(pages: Client, stranger: Client, alice: User) -> None:
    others = [Client(), Client()]
    for other in others:
        other.force_login(alice)
    link = SignInLink.objects.mint(alice)
    said = pages.post("/account/sign-out-others/", follow=True)
    assert "Every other device was signed out." in text(said)
    assert {other.get("/").status_code for other in others} == {302}
    assert pages.get("/").status_code == 200
    assert stranger.get("/").status_code == 200
    assert not SignInLink.objects.alive(link).exists()


def test_who_came_by_link_sets_a_first_password(pages: Client, alice: User) -> None:
    alice.set_unusable_password()
    alice.save()
    pages.force_login(alice)
    assert "old_password" not in main(pages.get("/account/password/"))
    form = {"new_password1": "looking-glass-9", "new_password2": "looking-glass-9"}
    assert pages.post("/account/password/", form)["Location"] == "/account/"


# --- signing in -----------------------------------------------------------------------------------


def test_signing_in_with_a_password_gives_a_new_session(alice: User) -> None:
    client = Client()
    client.session.save()
    before = client.cookies["sessionid"].value
    form = {"username": "alice", "password": "wonderland-7", "next": "/trash/"}
    assert client.post("/login/", form)["Location"] == "/trash/"
    assert client.cookies["sessionid"].value != before
    assert client.get("/").status_code == 200
    assert client.get("/login/")["Location"] == "/"
    assert client.post("/logout/")["Location"] == "/login/"
    assert client.get("/").status_code == 302


def test_a_wrong_password(alice: User) -> None:
    said = text(Client().post("/login/", {"username": "alice", "password": "wrong"}))
    assert "do not belong together" in said


def test_a_link_signs_in_once_and_not_by_looking_at_it(alice: User) -> None:
    token = SignInLink.objects.mint(alice)
    for _ in range(2):
        page = main(Client().get(f"/login/{token}/"))
        assert (page.count("<form"), page.count("<button")) == (1, 1)
    client = Client()
    assert client.post(f"/login/{token}/")["Location"] == "/"
    assert client.get("/").status_code == 200
    for answer in (Client().get(f"/login/{token}/"), Client().post(f"/login/{token}/")):
        assert answer.status_code == 410
        assert "This link does not work any more" in text(answer)
        assert "manage.py user" in text(answer)
    assert token not in Client().get(f"/login/{token}/").content.decode()


def test_an_old_link(alice: User) -> None:
    token = SignInLink.objects.mint(alice)
    SignInLink.objects.update(expires_at="2020-01-01T00:00Z")
    assert Client().post(f"/login/{token}/").status_code == 410


@pytest.mark.parametrize(
    ("following", "lands"), [("/trash/", "/trash/"), ("https://evil.example/", "/")]
)
def test_signing_in_leads_only_to_our_own_pages(alice: User, following: str, lands: str) -> None:
    token = SignInLink.objects.mint(alice)
    answer = Client().post(f"/login/{token}/", {"next": following})
    assert answer["Location"] == lands


# --- about the API --------------------------------------------------------------------------------


def test_each_code_is_explained(client: Client) -> None:
    page = client.get("/api/docs/errors/").content.decode()
    codes = {refusal.code for refusal in all_refusals(Refusal)}
    assert len(codes) > 20
    assert set(re.findall(r'<div id="(\w+)">', page)) == codes


def test_the_api_is_described_without_signing_in(client: Client) -> None:
    page = client.get("/api/docs/").content.decode()
    script = re.search(r'src="(/api/docs/\?script[^"]*)"', page)
    assert script
    assert "SwaggerUIBundle" in client.get(script[1]).content.decode()


# --- errors ---------------------------------------------------------------------------------------


def boom(request: HttpRequest) -> None:
    raise ZeroDivisionError


urlpatterns = [path("boom/", boom), *urls.urlpatterns]  # type: ignore[arg-type]
handler400, handler403 = urls.handler400, urls.handler403
handler404, handler500 = urls.handler404, urls.handler500


@pytest.mark.urls(__name__)
def test_a_fault_of_ours_has_a_page_with_the_request_id(pages: Client) -> None:
    pages.raise_request_exception = False
    answer = pages.get("/boom/")
    assert answer.status_code == 500
    assert "Something went wrong here" in text(answer)
    assert answer["X-Request-ID"] in text(answer)


def test_a_form_without_its_token_changes_nothing(alice: User, keep: Keep) -> None:
    image = keep(alice)
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    answer = client.post(f"/images/{image.id}/delete/", {"how": "trash"})
    assert answer.status_code == 403
    assert "This form is too old" in text(answer)
    image.refresh_from_db()
    assert image.trashed_at is None


def test_an_address_for_forms_only(pages: Client) -> None:
    for address in (f"/images/{NOBODYS}/restore/", "/logout/"):
        answer = pages.get(address)
        assert (answer.status_code, "POST" in answer["Allow"]) == (405, True)
        assert "This address is not for opening" in text(answer)


@pytest.fixture
def database_down() -> Iterator[None]:
    host = connection.settings_dict["HOST"]
    connection.close()
    connection.settings_dict["HOST"] = "/nowhere"
    yield
    connection.settings_dict["HOST"] = host


def test_without_a_database_there_is_a_page(
    alice: User, pages: Client, database_down: None
) -> None:
    pages.raise_request_exception = False
    answer = pages.get("/")
    assert answer.status_code == 503
    assert "The database does not answer at the moment." in text(answer)
    assert answer["Retry-After"] == "5"
    assert pages.get("/nothing/").status_code == 404
