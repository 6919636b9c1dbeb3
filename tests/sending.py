"""What a client does to send a picture, through both doors; and how it reads an answer."""

import hashlib
from typing import Any
from urllib.parse import urlsplit

import httpx2
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

API = "/api/v1"

Answer = Any  # of Django's test client


def send(
    api: APIClient,
    body: bytes,
    *,
    name: str = "cat.jpg",
    content_type: str = "image/jpeg",
    wait: float = 0,
    **fields: Any,
) -> Answer:
    """A form with a file, to the app."""
    file = SimpleUploadedFile(name, body, content_type)
    return api.post(f"{API}/images?wait={wait}", {"file": file, **fields}, format="multipart")


def send_bytes(
    api: APIClient,
    body: bytes,
    *,
    content_type: str = "image/jpeg",
    disposition: str = 'attachment; filename="cat.jpg"',
    query: str = "",
) -> Answer:
    """The bytes themselves, to the app."""
    return post_bytes(
        api,
        f"{API}/images?wait=0{query}",
        body,
        content_type=content_type,
        HTTP_CONTENT_DISPOSITION=disposition,
    )


def post_bytes(
    api: APIClient, address: str, body: bytes | str = b"", *, content_type: str, **headers: Any
) -> Answer:
    """A body as it is, with whatever headers."""
    client: Any = api
    return client.generic("POST", address, body, content_type=content_type, **headers)


def announce(api: APIClient, body: bytes, **changes: Any) -> Answer:
    announcement = {"name": "cat.jpg", "size": len(body), "content_type": "image/jpeg", **changes}
    return api.post(f"{API}/uploads", announcement, format="json")


def put(address: dict[str, Any], body: bytes) -> httpx2.Response:
    """Send bytes to the bucket as an announced upload, or one of its parts, says."""
    return httpx2.put(address["url"], content=body, headers=address["headers"])


def complete(api: APIClient, upload_id: str, *, wait: float = 0) -> Answer:
    return api.post(f"{API}/uploads/{upload_id}/complete?wait={wait}")


def send_directly(api: APIClient, body: bytes, **changes: Any) -> Answer:
    """Announce, send to the bucket, complete."""
    upload = announce(api, body, **changes).json()
    assert put(upload, body).status_code == 200
    return complete(api, upload["id"])


def read(api: APIClient, image_id: str) -> dict[str, Any]:
    answer = api.get(f"{API}/images/{image_id}")
    assert answer.status_code == 200, answer.content
    image: dict[str, Any] = answer.json()
    return image


def refusal(answer: Answer) -> tuple[int, str]:
    """Status and code of an answer that has the shape of RFC 9457."""
    assert answer.headers["Content-Type"] == "application/problem+json", answer.content
    problem = answer.json()
    assert problem["status"] == answer.status_code
    return answer.status_code, problem["code"]


def path_of(address: str) -> str:
    """An absolute address of ours as the test client takes it."""
    parts = urlsplit(address)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
