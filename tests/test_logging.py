"""What is written down: requests and uploads can be followed by their ids, and no line has a secret in it."""

import json
import logging
import re
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from io import StringIO
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import structlog
from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.test import Client
from django.urls import path
from pytest_django import Settings
from rest_framework.test import APIClient
from structlog.stdlib import ProcessorFormatter

from media_api import sweeps
from media_api.models import ApiKey, Image, SignInLink, Upload, database_now
from media_api.storage import ImageStorage
from project import urls
from project.logging import logging_config
from tests import pictures
from tests.conftest import Work, store_down
from tests.sending import API, announce, complete, put, read, refusal, send, send_directly

Keep = Callable[..., Image]
Line = dict[str, Any]


class Log:
    """What the service writes to standard error when it is not a terminal, and says as much as it can."""

    def __init__(self) -> None:
        self.stream = StringIO()

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    def lines(self, **having: str) -> list[Line]:
        lines: list[Line] = [json.loads(line) for line in self.text.splitlines()]
        return [line for line in lines if having.items() <= line.items()]

    def events(self, **having: str) -> list[str]:
        return [line["event"] for line in self.lines(**having)]


@pytest.fixture
def log() -> Iterator[Log]:
    log, root = Log(), logging.getLogger()
    options = dict(logging_config("DEBUG", "json")["formatters"]["structured"])
    del options["()"]
    handler = logging.StreamHandler(log.stream)
    handler.setFormatter(ProcessorFormatter(**options))
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield log
    root.setLevel(level)
    root.removeHandler(handler)


# --- to follow something --------------------------------------------------------------------------


def test_an_answer_has_the_id_of_its_lines_and_its_job_has_it_too(
    api: APIClient, work: Work, log: Log
) -> None:
    answer = send(api, pictures.jpeg())
    work()
    assert uuid.UUID(answer["X-Request-ID"])
    assert log.events(request_id=answer["X-Request-ID"]) == [
        "upload_announced",
        "upload_staged",
        "request_finished",
        "upload_kept",
    ]


def test_every_request_has_an_id_of_its_own(api: APIClient, log: Log) -> None:
    ids = [api.get(f"{API}/images", HTTP_X_REQUEST_ID="mine")["X-Request-ID"] for _ in range(2)]
    assert len({*ids, "mine"}) == 3
    assert [line["request_id"] for line in log.lines(event="request_finished")] == ids


@pytest.mark.parametrize(
    ("method", "address", "status"),
    [
        ("get", "/", 302),
        ("get", "/nothing/", 404),
        ("get", "/livez", 200),
        ("get", "/static/nothing.css", 404),
        ("get", f"{API}/nothing", 404),
        ("get", f"{API}/images", 401),
        ("put", f"{API}/images", 401),
        ("get", f"{API}/openapi.json", 200),
    ],
)
def test_every_answer_has_an_id(method: str, address: str, status: int) -> None:
    answer = getattr(Client(), method)(address)
    assert answer.status_code == status
    assert uuid.UUID(answer["X-Request-ID"])


def boom(request: HttpRequest) -> None:
    raise ZeroDivisionError


urlpatterns = [path("api/v1/boom", boom), path("boom/", boom), *urls.urlpatterns]  # type: ignore[arg-type]
handler400, handler403 = urls.handler400, urls.handler403
handler404, handler500 = urls.handler404, urls.handler500


@pytest.mark.urls(__name__)
def test_a_fault_is_found_by_the_id_that_the_client_was_told(log: Log) -> None:
    client = Client(raise_request_exception=False)
    answer = client.get(f"{API}/boom")
    assert refusal(answer) == (500, "internal")
    assert answer.json()["request_id"] == answer["X-Request-ID"]
    page = client.get("/boom/")
    assert page["X-Request-ID"] in page.content.decode()
    for told in answer, page:
        faults = log.lines(request_id=told["X-Request-ID"], event="request_failed")
        assert any("ZeroDivisionError" in line["exception"] for line in faults)


def test_an_upload_is_followed_by_its_id(api: APIClient, work: Work, log: Log) -> None:
    body = pictures.jpeg()
    upload = announce(api, body).json()
    put(upload, body)
    complete(api, upload["id"])
    work()
    assert log.events(upload_id=upload["id"]) == [
        "upload_announced",
        "upload_staged",
        "upload_kept",
    ]
    api.delete(f"{API}/images/{upload['id']}?permanent=true")
    work()
    assert log.events(image_id=upload["id"]) == ["image_purged"]


def test_its_other_ends_are_told_too(
    api: APIClient, storage: ImageStorage, work: Work, log: Log
) -> None:
    refused = send(api, b"no picture").json()["id"]
    work()
    assert log.events(upload_id=refused)[-1] == "upload_refused"
    assert log.lines(upload_id=refused)[-1]["code"] == "not_an_image"

    withdrawn = announce(api, pictures.jpeg()).json()["id"]
    api.delete(f"{API}/uploads/{withdrawn}")
    assert log.events(upload_id=withdrawn)[-1] == "upload_withdrawn"

    expired = announce(api, pictures.jpeg()).json()["id"]
    Upload.objects.update(expires_at=database_now() - timedelta(seconds=1))
    sweeps.expire_overdue()
    assert log.events(upload_id=expired)[-1] == "upload_expired"

    with store_down():
        answer = send(api, pictures.jpeg())
    lines = log.lines(request_id=answer["X-Request-ID"])
    lost = [(line["event"], line["upload_id"]) for line in lines if "upload_id" in line]
    assert [event for event, _ in lost] == ["upload_announced", "upload_withdrawn"]
    assert len({upload_id for _, upload_id in lost}) == 1


def test_a_job_that_has_to_wait_says_why(api: APIClient, work: Work, log: Log) -> None:
    answer = send(api, pictures.jpeg())
    with store_down():
        work()
    (line,) = log.lines(event="job_retried")
    assert (line["task"], line["upload_id"]) == ("examine", answer.json()["id"])
    assert line["request_id"] == answer["X-Request-ID"]
    assert "StorageUnavailable" in line["exception"]


def test_who_is_well_is_not_written_down(client: Client, storage: ImageStorage, log: Log) -> None:
    for address in "/livez", "/readyz", "/metrics":
        assert client.get(address).status_code == 200
    assert log.lines(event="request_finished") == []


def test_who_is_not_well_is_written_down(client: Client, settings: Settings, log: Log) -> None:
    settings.METRICS_OPEN = False
    client.get("/metrics")
    client.get("/livezz")
    assert [line["code"] for line in log.lines(event="request_finished")] == [404, 404]


# --- I8: no secret in a line ----------------------------------------------------------------------


def test_i8_no_secret_of_a_whole_journey_is_written_down(
    api: APIClient, alice: User, work: Work, log: Log
) -> None:
    secrets = [settings.SECRET_KEY, settings.S3_SECRET_ACCESS_KEY, "wonderland-7", "guessed-7"]
    browser = Client()

    token = SignInLink.objects.mint(alice)
    link = f"/login/{token}/"
    browser.get(link)
    assert browser.post(link).status_code == 302
    assert browser.post(link).status_code == 410
    browser.post("/logout/")
    secrets += [token, *cookies(browser)]
    browser.post("/login/", {"username": "alice", "password": "guessed-7"})
    signed_in = browser.post("/login/", {"username": "alice", "password": "wonderland-7"})
    assert signed_in.status_code == 302
    secrets += cookies(browser)
    browser.get("/")

    made = api.post(f"{API}/keys", {"scopes": ["read"]}, format="json").json()
    page = browser.post("/keys/", {"scopes": ["read"]})
    secrets += [
        secret_of(made["key"]),
        secret_of(re.findall(r"sbx_[\w-]+", page.content.decode())[0]),
    ]
    for wrong in (made["key"] + "x", made["key"][:-1], "sbx_abc_" + "d" * 43):
        answer = APIClient().get(f"{API}/images", HTTP_AUTHORIZATION=f"Bearer {wrong}")
        assert refusal(answer) == (401, "unauthenticated")
        secrets.append(secret_of(wrong))
    api.get(f"{API}/images?api_key={made['key']}")  # where it does not belong

    body = pictures.jpeg()
    upload = announce(api, body).json()
    put(upload, body)
    complete(api, upload["id"])
    kept = send(api, body).json()["id"]
    refused = send_directly(api, b"no picture").json()["id"]
    work()
    image = read(api, kept)
    content = api.get(f"{API}/images/{kept}/content")["Location"]
    addresses = [upload["url"], image["original"]["url"], image["renditions"][0]["url"], content]
    secrets += [signature(url) for url in addresses]
    api.get(
        f"{API}/uploads/{refused}?seen={upload['url']}"
    )  # a signed address where it does not belong
    browser.get(f"/images/{kept}/", HTTP_REFERER=content)

    with store_down():
        assert refusal(send(api, body)) == (503, "storage_unavailable")
        complete(api, announce(api, body).json()["id"])
    send(api, body)
    with store_down():
        work()
    api.delete(f"{API}/images/{kept}?permanent=true")
    work()

    assert {"request_finished", "request_failed", "upload_kept", "job_retried"} <= {*log.events()}
    assert [secret for secret in secrets if secret in log.text] == []


def cookies(browser: Client) -> list[str]:
    return [cookie.value for cookie in browser.cookies.values() if cookie.value]


def secret_of(key: str) -> str:
    return key.split("_", 2)[2]


def signature(url: str) -> str:
    return parse_qs(urlsplit(url).query)["X-Amz-Signature"][0]


def test_secrets_are_cut_out_wherever_they_stand(alice: User, log: Log) -> None:
    _, key = ApiKey.objects.mint(alice, scopes=["read"])
    token = SignInLink.objects.mint(alice)
    url = "http://s3/b/k?X-Amz-Credential=ABC%2F20261121&X-Amz-Expires=60&X-Amz-Signature=0f0f0f"
    shown = f"key {key}, /login/{token}/, next=%2Flogin%2F{token}%2F, {url}"
    ours = structlog.get_logger("tests")
    ours.info(shown, address=url)
    ours.info("nested", addresses=[url], headers={"Authorization": f"Bearer {key}"})
    logging.getLogger("library").warning("failed: %s", shown)
    try:
        raise RuntimeError(shown)
    except RuntimeError:
        ours.exception("failed")
    for secret in (secret_of(key), token, "0f0f0f", "ABC%2F2026"):
        assert secret not in log.text, secret
    assert log.text.count("X-Amz-Expires=60") >= 5


def test_a_line_for_people_has_no_secret_either(alice: User) -> None:
    token = SignInLink.objects.mint(alice)
    options = dict(logging_config("INFO", "text")["formatters"]["structured"])
    del options["()"]
    message = f"GET /login/{token}/"
    record = logging.LogRecord("library", logging.INFO, "", 0, message, None, None)
    line = ProcessorFormatter(**options).format(record)
    assert "GET /login/" in line
    assert token not in line


def test_a_name_does_not_break_its_line(api: APIClient, log: Log) -> None:
    api.get(f"{API}/images?q=a%0A%7B%22event%22%3A%22forged%22%7D")
    assert "forged" not in log.events()
    assert len(log.lines(event="request_finished")) == 1
