import hashlib
from collections.abc import Callable

import httpx2
from rest_framework.test import APIClient

from media_api.models import Image
from tests import pictures


def test_a_picture_is_sent_kept_and_shown(api: APIClient, work: Callable[[], None]) -> None:
    body = pictures.jpeg(800, 600)
    from django.core.files.uploadedfile import SimpleUploadedFile

    answer = api.post(
        "/api/v1/images?wait=0",
        {"file": SimpleUploadedFile("cat.jpg", body, "image/jpeg")},
        format="multipart",
    )
    assert answer.status_code == 202, answer.content
    work()
    image = api.get(answer["Location"].removeprefix("http://localhost")).json()
    print(image)
    image = api.get(f"/api/v1/images/{answer.json()['id']}").json()
    assert httpx2.get(image["original"]["url"]).content == body
    assert image["sha256"] == hashlib.sha256(body).hexdigest()
    for r in image["renditions"]:
        got = httpx2.get(r["url"])
        assert got.status_code == 200 and got.headers["content-type"] == "image/webp"
