"""Send a picture to the app, look at it, rename it; what is refused; what a stranger sees."""

import time
import unicodedata
from collections.abc import Callable
from datetime import datetime
from io import BytesIO
from typing import Any
from urllib.parse import quote

import httpx2
import PIL.Image
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from pytest_django import Settings
from rest_framework.test import APIClient

from media_api import images
from media_api.exceptions import NotFound, PreconditionFailed
from media_api.models import Image, Upload
from media_api.storage import ImageStorage
from tests import pictures
from tests.conftest import Work, objects, store_down
from tests.sending import (
    API,
    announce,
    path_of,
    post_bytes,
    put,
    read,
    refusal,
    send,
    send_bytes,
    send_directly,
    sha256,
)

Keep = Callable[..., Image]

FIELDS = {
    "id", "name", "path", "size", "date", "content_type", "width", "height", "frames", "sha256", "tags",
    "placeholder", "trashed_at", "damaged_at", "original", "renditions", "page", "duplicates",
}  # fmt: skip


def test_a_picture_is_sent_kept_and_shown(api: APIClient, work: Work) -> None:
    body = pictures.jpeg(800, 600)
    answer = send(api, body, name="cat.jpg")
    assert answer.status_code == 202
    assert api.get(path_of(answer["Location"])).json()["state"] == "staged"

    work()
    upload = api.get(path_of(answer["Location"])).json()
    image = read(api, upload["id"])
    assert upload["state"] == "kept"
    assert upload["image"] == image
    assert image.keys() == FIELDS
    assert image["name"] == "cat.jpg"
    assert image["path"] == f"images/{image['id']}/original.jpg"
    assert (image["size"], image["sha256"]) == (len(body), sha256(body))
    assert (image["width"], image["height"], image["frames"]) == (800, 600, 1)
    assert (image["content_type"], image["tags"], image["trashed_at"]) == ("image/jpeg", [], None)
    assert image["placeholder"].startswith("data:image/webp;base64,")


def test_the_original_is_kept_byte_for_byte(api: APIClient, work: Work) -> None:
    body = pictures.png(90, 60)
    image_id = send(api, body).json()["id"]
    work()
    shown = httpx2.get(read(api, image_id)["original"]["url"])
    assert shown.content == body
    assert shown.headers["content-type"] == "image/png"
    assert shown.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert "content-disposition" not in shown.headers


def test_renditions_are_what_the_json_says(api: APIClient, work: Work) -> None:
    image_id = send(api, pictures.jpeg(1400, 700)).json()["id"]
    work()
    renditions = read(api, image_id)["renditions"]
    assert [rendition["side"] for rendition in renditions] == [320, 640, 1280]
    for rendition in renditions:
        shown = httpx2.get(rendition["url"])
        assert shown.headers["content-type"] == rendition["content_type"] == "image/webp"
        picture = PIL.Image.open(BytesIO(shown.content))
        assert picture.format == "WEBP"
        assert picture.size == (rendition["width"], rendition["height"])
        assert max(picture.size) == rendition["side"]


def test_a_small_picture_has_one_rendition_of_its_own_size(api: APIClient, work: Work) -> None:
    image_id = send(api, pictures.jpeg(40, 30)).json()["id"]
    work()
    (rendition,) = read(api, image_id)["renditions"]
    assert (rendition["side"], rendition["width"], rendition["height"]) == (320, 40, 30)


@pytest.mark.parametrize(
    ("body", "content_type", "extension", "frames"),
    [
        (pictures.jpeg(), "image/jpeg", "jpg", 1),
        (pictures.png(), "image/png", "png", 1),
        (pictures.webp(), "image/webp", "webp", 1),
        (pictures.gif(frames=3), "image/gif", "gif", 3),
        (pictures.avif(), "image/avif", "avif", 1),
    ],
    ids=["jpeg", "png", "webp", "gif", "avif"],
)
def test_the_type_is_read_from_the_bytes(
    api: APIClient, work: Work, body: bytes, content_type: str, extension: str, frames: int
) -> None:
    image_id = send(api, body, name="evil.html", content_type="text/html").json()["id"]
    work()
    image = read(api, image_id)
    assert (image["content_type"], image["frames"]) == (content_type, frames)
    assert image["path"].endswith(f"/original.{extension}")
    assert httpx2.get(image["original"]["url"]).headers["content-type"] == content_type


def test_width_and_height_are_as_seen(api: APIClient, work: Work) -> None:
    image_id = send(api, pictures.rotated_jpeg(6, 64, 48)).json()["id"]
    work()
    image = read(api, image_id)
    assert (image["width"], image["height"]) == (64, 48)


def test_the_bytes_alone_are_taken_too(api: APIClient, work: Work) -> None:
    body = pictures.jpeg()
    answer = send_bytes(api, body, query="&tags=cat&tags=dog")
    assert answer.status_code == 202
    work()
    image = read(api, answer.json()["id"])
    assert (image["name"], image["tags"], image["sha256"]) == (
        "cat.jpg",
        ["cat", "dog"],
        sha256(body),
    )


def test_bytes_of_an_unknown_type_are_taken_too(api: APIClient, work: Work) -> None:
    answer = send_bytes(api, pictures.png(), content_type="application/octet-stream")
    work()
    assert read(api, answer.json()["id"])["content_type"] == "image/png"


@pytest.mark.parametrize(
    ("disposition", "query", "name"),
    [
        ('attachment; filename="cat.jpg"', "", "cat.jpg"),
        ("attachment; filename=cat.jpg", "", "cat.jpg"),
        ("attachment; filename*=UTF-8''na%C3%AFve%20%F0%9F%90%88.jpg", "", "naïve 🐈.jpg"),
        ("attachment; filename=\"x.jpg\"; filename*=UTF-8''%E7%8C%AB.jpg", "", "猫.jpg"),
        ("", "&name=from%20the%20query.jpg", "from the query.jpg"),
        ("", "", "unnamed"),
        ("inline", "", "unnamed"),
        ("attachment; filename*=UTF-8''a%00b%0A.jpg", "", "ab.jpg"),
        (f"attachment; filename={'a' * 300}.jpg", "", "a" * 255),
        (f"attachment; filename=a.{'b' * 300}", "", "a." + "b" * 253),
        ("attachment; filename=..", "", ".."),
    ],
)
def test_bytes_have_their_name_in_a_header(
    api: APIClient, disposition: str, query: str, name: str
) -> None:
    answer = send_bytes(api, pictures.jpeg(), disposition=disposition, query=query)
    assert answer.status_code == 202, answer.content
    assert answer.json()["name"] == name


def test_a_header_that_cannot_be_read_is_refused(api: APIClient, storage: ImageStorage) -> None:
    header = "attachment; filename*=no-such-charset''cat.jpg"
    answer = send_bytes(api, pictures.jpeg(), disposition=header)
    assert refusal(answer) == (400, "malformed")
    assert objects(storage) == []


@pytest.mark.parametrize(
    "content_type", ["image/jpeg", "image/" + "x" * 200, "nonsense", "imagé/é"]
)
def test_whatever_a_part_of_a_form_says_of_its_type_is_a_claim(
    api: APIClient, work: Work, content_type: str
) -> None:
    answer = send(api, pictures.jpeg(), content_type=content_type)
    assert answer.status_code == 202
    work()
    assert read(api, answer.json()["id"])["content_type"] == "image/jpeg"


def test_a_long_claimed_type_of_bare_bytes_is_a_claim(api: APIClient) -> None:
    assert send_bytes(api, pictures.jpeg(), content_type="image/" + "x" * 200).status_code == 202


def test_two_of_the_same_name_are_two_images(api: APIClient, work: Work) -> None:
    bodies = [pictures.jpeg(seed=1), pictures.jpeg(seed=2)]
    ids = [send(api, body, name="cat.jpg").json()["id"] for body in bodies]
    work()
    images = [read(api, image_id) for image_id in ids]
    assert [image["name"] for image in images] == ["cat.jpg", "cat.jpg"]
    assert [httpx2.get(image["original"]["url"]).content for image in images] == bodies


def test_copies_are_told(api: APIClient, alice: User, mallory: User, keep: Keep) -> None:
    body = pictures.jpeg()
    image, copy = keep(alice, body), keep(alice, body)
    keep(alice, pictures.jpeg(seed=1))
    keep(mallory, body)
    assert read(api, str(image.id))["duplicates"] == [str(copy.id)]


NAMES = {
    "cat.jpg": "cat.jpg",
    unicodedata.normalize("NFD", "Käthe à la plage.jpg"): "Käthe à la plage.jpg",
    "bell\x07 and\ttab\x7f.jpg": "bell andtab.jpg",
    "🐈‍⬛.jpg": "🐈‍⬛.jpg",
    "é" * 300: "é" * 255,
    "  spaces around  ": "spaces around",
    "../../etc/passwd": "../../etc/passwd",
    "\x01\x02": "unnamed",
}


@pytest.mark.parametrize(("given", "kept"), NAMES.items(), ids=range(len(NAMES)))
def test_names_are_labels(
    api: APIClient, work: Work, storage: ImageStorage, given: str, kept: str
) -> None:
    through_us = api.post(
        f"{API}/images?wait=0",
        {"file": BytesIO(pictures.jpeg()), "name": given},
        format="multipart",
    )
    directly = send_directly(api, pictures.jpeg(), name=given)
    work()
    for answer in through_us, directly:
        assert read(api, answer.json()["id"])["name"] == kept
    assert all(key.isascii() and ".." not in key for key in objects(storage))


def test_the_name_of_the_file_is_cleaned_too(api: APIClient) -> None:
    name = unicodedata.normalize("NFD", "Käthe.jpg")
    assert send(api, pictures.jpeg(), name=name).json()["name"] == "Käthe.jpg"


def test_a_file_may_have_a_long_extension(api: APIClient) -> None:
    assert send(api, pictures.jpeg(), name="a." + "b" * 250).status_code == 202


def test_tags_come_with_the_picture(api: APIClient, work: Work) -> None:
    answer = send(api, pictures.jpeg(), tags=["cat", " cat ", "Käthe"])
    work()
    assert read(api, answer.json()["id"])["tags"] == ["cat", "Käthe"]


# --- waiting --------------------------------------------------------------------------------------


def test_who_waits_gets_the_image(api: APIClient, worker: None) -> None:
    body = pictures.jpeg()
    answer = send(api, body, wait=20)
    assert answer.status_code == 201, answer.content
    assert answer.json()["sha256"] == sha256(body)
    assert answer["ETag"]
    assert api.get(path_of(answer["Location"])).json() == answer.json()


def test_who_waits_gets_the_verdict(api: APIClient, worker: None) -> None:
    assert refusal(send(api, b"no picture", wait=20)) == (422, "not_an_image")


def test_when_the_wait_runs_out_the_upload_is_told(api: APIClient) -> None:
    started = time.monotonic()
    answer = send(api, pictures.jpeg(), wait=0.3)
    assert answer.status_code == 202
    assert time.monotonic() - started > 0.3
    assert answer.json()["state"] == "staged"


@pytest.mark.parametrize("wait", ["soon", "1,5", ""])
def test_the_wait_is_a_number(api: APIClient, storage: ImageStorage, wait: str) -> None:
    answer = api.post(f"{API}/images?wait={wait}", pictures.jpeg(), content_type="image/jpeg")
    assert refusal(answer) == (422, "invalid")
    assert objects(storage) == []


@pytest.mark.parametrize("wait", ["nan", "-1"])
def test_a_strange_wait_is_no_wait(api: APIClient, wait: str) -> None:
    answer = api.post(f"{API}/images?wait={wait}", pictures.jpeg(), content_type="image/jpeg")
    assert answer.status_code == 202


# --- what is refused ------------------------------------------------------------------------------

NOT_IMAGES = {
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "html": b"<!doctype html><script>alert(1)</script>",
    "pdf": b"%PDF-1.7\n",
    "noise": bytes(range(256)),
}


@pytest.mark.parametrize("body", NOT_IMAGES.values(), ids=NOT_IMAGES)
def test_what_is_not_an_image_leaves_nothing(
    api: APIClient, work: Work, storage: ImageStorage, body: bytes
) -> None:
    upload_id = send(api, body).json()["id"]
    work()
    upload = api.get(f"{API}/uploads/{upload_id}").json()
    assert (upload["state"], upload["error"]["code"]) == ("refused", "not_an_image")
    assert refusal(api.post(f"{API}/uploads/{upload_id}/complete")) == (422, "not_an_image")
    assert refusal(api.get(f"{API}/images/{upload_id}")) == (404, "not_found")
    assert objects(storage) == []


@pytest.mark.parametrize(
    "body",
    [
        pictures.jpeg(400, 300),
        pictures.png(400, 300),
        pictures.webp(400, 300),
        pictures.gif(400, 300),
    ],
    ids=["jpeg", "png", "webp", "gif"],
)
def test_what_is_cut_leaves_nothing(
    api: APIClient, work: Work, storage: ImageStorage, body: bytes
) -> None:
    upload_id = send(api, pictures.truncated(body)).json()["id"]
    work()
    assert api.get(f"{API}/uploads/{upload_id}").json()["error"]["code"] == "truncated"
    assert objects(storage) == []


@pytest.mark.parametrize(
    ("limits", "body", "code"),
    [
        ({"MAX_JPEG_PIXELS": 64 * 48 - 1}, pictures.jpeg(64, 48), "too_many_pixels"),
        ({"MAX_PIXELS": 64 * 48 - 1}, pictures.png(64, 48), "too_many_pixels"),
        ({"MAX_FRAMES": 2}, pictures.gif(frames=3), "too_many_frames"),
        ({"MAX_ANIMATION_PIXELS": 64 * 48 * 2}, pictures.gif(64, 48, frames=3), "too_many_frames"),
        ({"MAX_SCANS": 19}, pictures.with_scans(20), "too_complex"),
    ],
    ids=["jpeg", "png", "frames", "animation", "scans"],
)
def test_what_is_over_a_limit_leaves_nothing(
    api: APIClient,
    work: Work,
    storage: ImageStorage,
    settings: Settings,
    limits: dict[str, int],
    body: bytes,
    code: str,
) -> None:
    for name, limit in limits.items():
        setattr(settings, name, limit)
    upload_id = send(api, body).json()["id"]
    work()
    assert api.get(f"{API}/uploads/{upload_id}").json()["error"]["code"] == code
    assert objects(storage) == []


def test_nothing_is_empty(api: APIClient, storage: ImageStorage) -> None:
    assert refusal(send(api, b"")) == (422, "empty")
    nothing = post_bytes(api, f"{API}/images", content_type="image/jpeg", CONTENT_LENGTH="0")
    assert refusal(nothing) == (422, "empty")
    assert objects(storage) == []
    assert not Upload.objects.exists()


def test_a_file_of_the_largest_size_is_taken_and_of_one_byte_more_not(
    api: APIClient, storage: ImageStorage, work: Work, settings: Settings
) -> None:
    settings.MAX_UPLOAD_SIZE = 100_000
    image_id = send(api, pictures.large(100_000)).json()["id"]
    work()
    kept = objects(storage)
    assert read(api, image_id)["size"] == 100_000
    for sent in send, send_bytes:
        assert refusal(sent(api, pictures.large(100_001))) == (413, "too_large")
    assert objects(storage) == kept
    assert not Upload.objects.exists()


def test_a_length_beyond_the_limit_is_refused_before_the_body_is_read(api: APIClient) -> None:
    class Untouched(BytesIO):
        def read(self, *_: Any) -> bytes:
            raise AssertionError("the body was read")

    environ: dict[str, Any] = {"wsgi.input": Untouched(), "CONTENT_LENGTH": str(2**40)}
    form = "multipart/form-data; boundary=x"
    answer = post_bytes(api, f"{API}/images", content_type=form, **environ)
    assert refusal(answer) == (413, "too_large")


def test_a_body_that_ends_early_leaves_nothing(api: APIClient, storage: ImageStorage) -> None:
    body = pictures.jpeg()
    environ: dict[str, Any] = {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body) + 1)}
    answer = post_bytes(api, f"{API}/images", content_type="image/jpeg", **environ)
    assert refusal(answer) == (422, "size_mismatch")
    assert objects(storage) == []
    assert not Upload.objects.exists()


def test_a_body_of_unknown_length_is_refused(api: APIClient) -> None:
    answer = post_bytes(api, f"{API}/images", content_type="image/jpeg", CONTENT_LENGTH="")
    assert refusal(answer) == (411, "length_required")


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("application/json", b"{}", (415, "unsupported_media_type")),
        ("text/plain", b"hello", (415, "unsupported_media_type")),
        ("multipart/form-data", b"no boundary", (400, "malformed")),
        ("multipart/form-data; boundary=x", b"--x\r\nnonsense", (422, "invalid")),
    ],
)
def test_a_body_that_is_no_picture_in_any_form(
    api: APIClient, content_type: str, body: bytes, expected: tuple[int, str]
) -> None:
    answer = post_bytes(api, f"{API}/images", body, content_type=content_type)
    assert refusal(answer) == expected


@pytest.mark.parametrize(
    "tags", [["a,b"], ["a" * 65], ["bell\x07"], [str(number) for number in range(33)]]
)
def test_tags_that_are_not_allowed(api: APIClient, storage: ImageStorage, tags: list[str]) -> None:
    answer = send(api, pictures.jpeg(), tags=tags)
    assert refusal(answer) == (422, "invalid")
    assert answer.json()["errors"][0]["pointer"].startswith("/tags")
    assert objects(storage) == []


# --- reading one ----------------------------------------------------------------------------------


def test_an_image_that_did_not_change_is_not_sent_again(
    api: APIClient, alice: User, keep: Keep
) -> None:
    address = f"{API}/images/{keep(alice).id}"
    etag = api.get(address)["ETag"]
    assert etag.startswith('"1.')
    for known in etag, f'"other", {etag}', f"W/{etag}", "*":
        again = api.get(address, HTTP_IF_NONE_MATCH=known)
        assert (again.status_code, again.content, again["ETag"]) == (304, b"", etag)
    assert api.get(address, HTTP_IF_NONE_MATCH='"1.1"').status_code == 200
    api.patch(address, {"name": "dog.jpg"}, format="json")
    assert api.get(address, HTTP_IF_NONE_MATCH=etag).status_code == 200


def test_all_links_of_an_image_roll_together_with_its_etag(
    api: APIClient, alice: User, keep: Keep
) -> None:
    image_id = keep(alice, pictures.jpeg(1000, 500)).id
    answer = api.get(f"{API}/images/{image_id}")
    image = answer.json()
    (end,) = {link["expires_at"] for link in (image["original"], *image["renditions"])}
    window = int(answer["ETag"].strip('"').partition(".")[2])
    assert datetime.fromisoformat(end).timestamp() == window + 2 * settings.LINK_WINDOW


def test_links_stay_the_same_for_a_whole_window(api: APIClient, alice: User, keep: Keep) -> None:
    image_id = str(keep(alice).id)
    first = read(api, image_id)
    time.sleep(1.1)
    assert read(api, image_id) == first


def test_content_shows_the_original_or_a_rendition(api: APIClient, alice: User, keep: Keep) -> None:
    body = pictures.jpeg(1000, 500)
    address = f"{API}/images/{keep(alice, body).id}/content"
    for query in "", "?side=original":
        answer = api.get(address + query)
        assert answer.status_code == 302
        assert answer["Cache-Control"] == "private, max-age=1800"
        assert httpx2.get(answer["Location"]).content == body
    for side, width in {1: 320, 320: 320, 321: 640, 640: 640, 641: 640, 999_999: 640}.items():
        shown = httpx2.get(api.get(f"{address}?side={side}")["Location"])
        assert PIL.Image.open(BytesIO(shown.content)).width == width


def test_content_is_the_same_address_as_in_the_json(
    api: APIClient, alice: User, keep: Keep
) -> None:
    image = read(api, str(keep(alice).id))
    address = f"{API}/images/{image['id']}/content"
    assert api.get(address)["Location"] == image["original"]["url"]
    assert api.get(f"{address}?side=320")["Location"] == image["renditions"][0]["url"]


def test_download_saves_under_the_name_of_the_image(
    api: APIClient, alice: User, keep: Keep
) -> None:
    image = keep(alice, name='naïve "猫" 100%.jpg')
    address = f"{API}/images/{image.id}/content"
    for query, name in {
        "?download=true": "na%C3%AFve%20%22%E7%8C%AB%22%20100%25.jpg",
        "?download=true&side=320": "na%C3%AFve%20%22%E7%8C%AB%22%20100%25-320.webp",
    }.items():
        saved = httpx2.get(api.get(address + query)["Location"])
        assert saved.status_code == 200
        kind, _, exact = saved.headers["content-disposition"].partition("; filename*=UTF-8''")
        assert kind.startswith("attachment; filename=")
        assert exact == name


def test_content_is_stripped_of_metadata_when_asked(
    api: APIClient, alice: User, keep: Keep, storage: ImageStorage
) -> None:
    silent, body = pictures.jpeg(400, 300), pictures.jpeg(400, 300, comment="a secret")
    image = keep(alice, body)
    address = f"{API}/images/{image.id}/content"
    assert image.stripped_path == f"images/{image.id}/stripped.jpg"
    for query, expected in {
        "?stripped=true": silent,
        "?stripped=1&side=original": silent,
        "?stripped=false": body,
        "?stripped=": body,
        "?side=320&stripped=true": storage.read(image.rendition_key(320)),
    }.items():
        shown = httpx2.get(api.get(address + query)["Location"])
        assert shown.content == expected, query
    shown = httpx2.get(api.get(f"{address}?stripped=true")["Location"])
    assert shown.headers["content-type"] == "image/jpeg"
    assert shown.headers["cache-control"] == "private, max-age=31536000, immutable"
    saved = httpx2.get(api.get(f"{address}?stripped=true&download=true")["Location"])
    assert saved.content == silent
    assert 'filename="cat.jpg"' in saved.headers["content-disposition"]


def test_what_carries_no_metadata_is_its_own_stripped_copy(
    api: APIClient, alice: User, keep: Keep, storage: ImageStorage
) -> None:
    image = keep(alice)
    address = f"{API}/images/{image.id}/content"
    assert image.stripped_path == image.path
    assert api.get(f"{address}?stripped=true")["Location"] == api.get(address)["Location"]
    assert {key.rpartition("/")[2] for key in objects(storage)} == {
        *("320.webp", "image.json", "original.jpg")
    }


def test_of_what_was_kept_before_there_were_copies_a_rendition_is_shown(
    api: APIClient, alice: User, keep: Keep, storage: ImageStorage
) -> None:
    image = keep(alice, pictures.jpeg(1000, 500, comment="a secret"))
    Image.objects.update(stripped_path="")
    shown = httpx2.get(api.get(f"{API}/images/{image.id}/content?stripped=true")["Location"])
    assert shown.content == storage.read(image.rendition_key(640))


@pytest.mark.parametrize(
    ("name", "saved"),
    [
        ("cat.JPEG", "cat.JPEG"),
        ("cat", "cat.jpg"),
        ("page.html", "page.html.jpg"),
        ("jpg", "jpg.jpg"),
        (".jpg", ".jpg"),
    ],
)
def test_download_saves_as_what_it_is(
    api: APIClient, alice: User, keep: Keep, name: str, saved: str
) -> None:
    image = keep(alice, name=name)
    for query in "download=true", "download=true&stripped=true":
        location = api.get(f"{API}/images/{image.id}/content?{query}")["Location"]
        disposition = httpx2.get(location).headers["Content-Disposition"]
        assert disposition.endswith(f"filename*=UTF-8''{quote(saved)}")


@pytest.mark.parametrize("switch", ["stripped", "download"])
@pytest.mark.parametrize("value", ["yes", "on", "2", "truth", "%00"])
def test_a_switch_is_true_or_false(
    api: APIClient, alice: User, keep: Keep, switch: str, value: str
) -> None:
    answer = api.get(f"{API}/images/{keep(alice).id}/content?{switch}={value}")
    assert refusal(answer) == (422, "invalid")


@pytest.mark.parametrize("side", ["0", "-1", "huge", "1.5", "²"])
def test_a_side_is_a_number_of_pixels(api: APIClient, alice: User, keep: Keep, side: str) -> None:
    answer = api.get(f"{API}/images/{keep(alice).id}/content?side={side}")
    assert refusal(answer) == (422, "invalid")


# --- changing one ---------------------------------------------------------------------------------


def test_name_and_tags_may_be_changed(
    api: APIClient, alice: User, keep: Keep, work: Work, storage: ImageStorage
) -> None:
    image = keep(alice, tags=("cat",))
    address = f"{API}/images/{image.id}"
    named = api.patch(address, {"name": "Ka\u0308the\x07.jpg"}, format="json")
    assert named.status_code == 200
    assert (named.json()["name"], named.json()["tags"]) == ("Käthe.jpg", ["cat"])
    tagged = api.patch(address, {"tags": ["dog", "dog", ""]}, format="json")
    assert refusal(tagged) == (422, "invalid")
    tagged = api.patch(address, {"tags": ["dog", "dog"]}, format="json")
    assert tagged.json() == read(api, str(image.id))
    assert (tagged.json()["name"], tagged.json()["tags"]) == ("Käthe.jpg", ["dog"])
    work()
    described = storage.read(f"images/{image.id}/image.json").decode()
    assert "Käthe.jpg" in described
    assert '"dog"' in described


def test_nothing_else_may_be_changed(api: APIClient, alice: User, keep: Keep) -> None:
    image = keep(alice)
    before = read(api, str(image.id))
    api.patch(f"{API}/images/{image.id}", {"size": 1, "path": "x", "owner": 2}, format="json")
    assert read(api, str(image.id)) == before


def test_who_changed_it_meanwhile_is_not_overwritten(
    api: APIClient, alice: User, keep: Keep
) -> None:
    address = f"{API}/images/{keep(alice).id}"
    read_first = api.get(address)["ETag"]
    changed = api.patch(address, {"name": "one"}, format="json", HTTP_IF_MATCH=read_first)
    assert changed.status_code == 200
    for stale in read_first, f"W/{read_first}", '"nonsense"', "nonsense", '"1.0"':
        late = api.patch(address, {"name": "two"}, format="json", HTTP_IF_MATCH=stale)
        assert refusal(late) == (412, "precondition_failed"), stale
    for good in changed["ETag"], '"2.0"', 'W/"2.0"', '"1.0", "2.0"', "*":
        again = api.patch(address, {"tags": []}, format="json", HTTP_IF_MATCH=good)
        assert again.status_code == 200, good
        api.patch(address, {}, format="json")  # another change
        Image.objects.update(version=2)
    assert api.get(address).json()["name"] == "one"


def test_what_lies_in_the_trash_cannot_be_changed(api: APIClient, alice: User, keep: Keep) -> None:
    address = f"{API}/images/{keep(alice).id}"
    api.delete(address)
    assert refusal(api.patch(address, {"name": "x"}, format="json")) == (409, "trashed")


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"name": ""}, "/name"),
        ({"name": None}, "/name"),
        ({"tags": "cat"}, "/tags"),
        ({"tags": [{}]}, "/tags/0"),
        ([], ""),
    ],
)
def test_changes_that_are_not_allowed(
    api: APIClient, alice: User, keep: Keep, change: Any, pointer: str
) -> None:
    answer = api.patch(f"{API}/images/{keep(alice).id}", change, format="json")
    assert refusal(answer) == (422, "invalid")
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


# --- the stranger ---------------------------------------------------------------------------------

ADDRESSES = [
    ("get", ""),
    ("patch", ""),
    ("delete", ""),
    ("delete", "?permanent=true"),
    ("post", "/restore"),
    ("get", "/content"),
    ("get", "/content?side=320&download=true"),
]


def test_a_stranger_finds_nothing(
    api: APIClient, stranger: APIClient, alice: User, keep: Keep
) -> None:
    image = keep(alice)
    before = read(api, str(image.id))
    for method, rest in ADDRESSES:
        ask = getattr(stranger, method)
        theirs = ask(f"{API}/images/{image.id}{rest}", {}, format="json")
        nobodys = ask(f"{API}/images/{Upload().id}{rest}", {}, format="json")
        assert refusal(theirs) == refusal(nobodys) == (404, "not_found"), (method, rest)
    assert stranger.get(f"{API}/images").json()["results"] == []
    assert stranger.get(f"{API}/images?sha256={image.sha256}").json()["results"] == []
    assert read(api, str(image.id)) == before


# --- deleted by its owner while it is asked for ---------------------------------------------------


def test_an_image_that_another_request_changes_meanwhile_is_not_overwritten(
    alice: User, keep: Keep
) -> None:
    image = keep(alice)
    Image.objects.update(version=2)
    with pytest.raises(PreconditionFailed):
        images.change(image, name="x", version=1)


def test_an_image_that_goes_while_it_is_changed_is_not_found(
    api: APIClient, alice: User, keep: Keep
) -> None:
    image = keep(alice)
    Image.objects.filter(id=image.id).delete()
    with pytest.raises(NotFound):
        images.change(image, name="x")


# --- the store is down ----------------------------------------------------------------------------


def test_without_the_store_nothing_is_taken_and_nothing_is_left(
    api: APIClient, storage: ImageStorage
) -> None:
    with store_down():
        answer = send(api, pictures.jpeg())
    assert refusal(answer) == (503, "storage_unavailable")
    assert int(answer["Retry-After"]) > 0
    assert not Upload.objects.exists()
    assert objects(storage) == []


def test_without_the_store_images_are_listed_linked_and_changed(
    api: APIClient, alice: User, keep: Keep
) -> None:
    address = f"{API}/images/{keep(alice).id}"
    with store_down():
        assert len(api.get(f"{API}/images").json()["results"]) == 1
        assert api.get(f"{address}/content").status_code == 302
        assert api.patch(address, {"name": "x"}, format="json").status_code == 200
        assert api.delete(address).status_code == 204


def test_a_direct_upload_is_the_same_image(api: APIClient, work: Work) -> None:
    body = pictures.png(500, 400)
    ids = [send(api, body).json()["id"], send_directly(api, body).json()["id"]]
    work()
    through_us, directly = (read(api, image_id) for image_id in ids)
    own = {"id", "path", "date", "original", "renditions", "page", "duplicates"}
    assert {k: v for k, v in through_us.items() if k not in own} == {
        k: v for k, v in directly.items() if k not in own
    }
    assert announce(api, body).status_code == 201
    assert put(announce(api, body).json(), body).status_code == 200
