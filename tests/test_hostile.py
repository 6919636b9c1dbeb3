"""Nothing that a client can send is a fault of ours: never a 500, and always a refusal of one shape."""

import gc
import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote
from wsgiref.util import setup_testing_defaults

import pytest
from django.contrib.auth.models import User
from django.test import Client
from rest_framework.test import APIClient

from media_api.models import Image
from media_api.storage import ImageStorage
from project.wsgi import application
from tests import pictures
from tests.conftest import client_of, objects
from tests.sending import API, Answer, announce, post_bytes, refusal

Keep = Callable[..., Image]

TEXTS = [
    "\0", "a\0b", "", "x" * 5000, "\uff11\uff12", "²", "-1", "9" * 5000, "nan", "1e999", "[]", '{"a": 1}', "'\"; DROP",
    "%", "🐈", "!&|():*", "\\", "eyJ", "W10", "bnVsbA",
]  # fmt: skip
BYTES = ["%ff", "%ED%A0%80", "%00", "%", "%zz", "+"]
VALUES: list[Any] = [
    "\0", "a\0", "\ud800", "🐈" * 300, "x" * 100_000, None, True, 1.5, -1, 10**30, 1e308, [], {}, [[]], [{}],
    [None], ["\0"], ["\ud800"], [1], [True], {"a": "\0"}, "NaN",
]  # fmt: skip
BODIES = [
    b"", b"null", b"[]", b'"x"', b"1", b"\xff", b"\xef\xbb\xbf{}", b"{", b"[" * 200_000, b'{"a":' * 100_000,
    b"1" * 10_000, b"\0", '{"name": "é"}'.encode("utf-16"), b'{"size": 1e400}', b"{}{}", b'{"size": NaN}',
]  # fmt: skip


def ask(
    api: APIClient, method: str, address: str, body: str | bytes = b"", **headers: str
) -> Answer:
    """A request as it is, of JSON unless its headers say otherwise."""
    client: Any = api
    headers = {"content_type": "application/json", **headers}
    return client.generic(method, address, body, **headers)


def assert_refused_or_done(answer: Answer, *of: object) -> None:
    assert answer.status_code < 500, of
    if answer.status_code >= 400:
        refusal(answer)


PARAMETERS = {
    "GET images": "q type tag sha256 limit cursor order",
    "GET images/trash": "q type tag sha256 limit cursor order",
    "GET uploads": "state limit cursor order",
    "GET images/{image}/content": "side stripped download",
    "POST uploads/{upload}/complete": "wait",
    "POST images": "wait",
    "DELETE images/{image}": "permanent",
}


def test_every_parameter_of_a_query(api: APIClient, alice: User, keep: Keep) -> None:
    ids = {"image": keep(alice).id, "upload": announce(api, b"x" * 100).json()["id"]}
    for call, names in PARAMETERS.items():
        method, _, address = call.format(**ids).partition(" ")
        for name, value in product(names.split(), [*map(quote, TEXTS), *BYTES]):
            answer = ask(api, method, f"{API}/{address}?{name}={value}")
            assert_refused_or_done(answer, call, name, value[:50])


FIELDS = {
    "POST images/delete": "ids",
    "POST images/restore": "ids",
    "POST images/tags": "ids add remove",
    "POST images/links": "ids side",
    "PATCH images/{image}": "name tags",
    "POST uploads": "name size content_type sha256 tags",
    "POST uploads/{upload}/parts": "numbers",
    "POST keys": "name scopes",
}


def test_every_field_of_json(api: APIClient, alice: User, keep: Keep) -> None:
    ids = {"image": keep(alice).id, "upload": announce(api, b"x" * 100).json()["id"]}
    allowed = {
        "ids": [str(ids["image"])],
        "name": "x",
        "size": 5,
        "content_type": "image/jpeg",
        "scopes": ["read"],
    }
    for call, names in FIELDS.items():
        method, _, address = call.format(**ids).partition(" ")
        fields = names.split()
        good = {name: allowed[name] for name in fields if name in allowed}
        for field, value in product(fields, VALUES):
            answer = ask(api, method, f"{API}/{address}", json.dumps(good | {field: value}))
            assert_refused_or_done(answer, call, field, repr(value)[:50])
        for text in BODIES:
            answer = ask(api, method, f"{API}/{address}", text)
            assert_refused_or_done(answer, call, text[:50])


@pytest.mark.parametrize("body", [b"[" * 200_000, b'{"a":' * 100_000, b"\xff", b"{", b"1" * 10_000])
def test_what_cannot_be_read_is_malformed(api: APIClient, body: bytes) -> None:
    answer = ask(api, "POST", f"{API}/uploads", body)
    assert refusal(answer) == (400, "malformed")


@pytest.mark.parametrize("charset", ["utf-16", "nonsense", "rot13", "zlib", "undefined", ";;="])
def test_strange_charsets(api: APIClient, charset: str) -> None:
    for body in b"\xff", b"{}", b'{"name": "\xc3\xa9"}':
        content_type = f"application/json; charset={charset}"
        answer = ask(api, "POST", f"{API}/uploads", body, content_type=content_type)
        assert_refused_or_done(answer, body)


def test_five_megabytes_of_json(api: APIClient) -> None:
    answer = ask(api, "POST", f"{API}/images/delete", json.dumps({"ids": ["x" * 36] * 130_000}))
    assert refusal(answer) == (413, "too_large")


# --- forms ----------------------------------------------------------------------------------------


def form(*parts: tuple[str, bytes]) -> bytes:
    """A multipart body of fields; a name that ends in `.jpg` is a file."""
    sections = []
    for name, body in parts:
        file = f'; filename="{name}"' if name.endswith(".jpg") else ""
        field = "file" if file else name
        head = f'--x\r\nContent-Disposition: form-data; name="{field}"{file}\r\n\r\n'
        sections.append(head.encode() + body + b"\r\n")
    return b"".join(sections) + b"--x--\r\n"


def send_form(api: APIClient, body: bytes) -> Answer:
    return post_bytes(
        api, f"{API}/images?wait=0", body, content_type="multipart/form-data; boundary=x"
    )


def test_the_form_of_these_tests_is_one(api: APIClient) -> None:
    body = form(("cat.jpg", pictures.jpeg()), ("tags", b"a"), ("tags", b"b"))
    answer = send_form(api, body)
    assert (answer.status_code, answer.json()["tags"]) == (202, ["a", "b"])


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (form(*[("cat.jpg", b"x")] * 1000), (400, "malformed")),
        (form(*[("field", b"x")] * 10_000), (400, "malformed")),
        (form(*[("tags", b"%d" % n) for n in range(100)], ("cat.jpg", b"x")), (422, "invalid")),
        (form(("name", b"x" * 2_000_000), ("cat.jpg", pictures.jpeg())), (413, "too_large")),
        (form(("tags", b"\0"), ("cat.jpg", pictures.jpeg())), (422, "invalid")),
        (form(("file", b"not a file")), (422, "invalid")),
        (form(), (422, "invalid")),
        (b"--x\r\n", (422, "invalid")),
        (b"no boundary at all", (422, "invalid")),
    ],
    ids=[
        "files",
        "fields",
        "tags",
        "long",
        "nul",
        "no file",
        "nothing",
        "cut",
        "no form",
    ],
)
def test_forms(
    api: APIClient, storage: ImageStorage, body: bytes, expected: tuple[int, str]
) -> None:
    assert refusal(send_form(api, body)) == expected
    assert objects(storage) == []


@pytest.mark.parametrize(
    "body",
    [
        form(("name", b"\xff\xfe"), ("cat.jpg", pictures.jpeg())),
        form(("tags", b"\xed\xa0\x80"), ("cat.jpg", pictures.jpeg())),
        form(("cat.jpg", b"x")).replace(b"cat", b"\xff\0"),
        form(("cat.jpg", b"x"))[:-12],
    ],
    ids=["bytes", "surrogate", "file name", "cut"],
)
def test_forms_in_no_charset(api: APIClient, body: bytes) -> None:
    assert_refused_or_done(send_form(api, body))


def test_nothing_is_left_of_a_form_that_is_given_up(api: APIClient) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="b"\r\n'
    not_base64 = head + b"Content-Transfer-Encoding: base64\r\n\r\n!!!!!\r\n--x--\r\n"
    body = form(*[("cat.jpg", b"x")] * 3).removesuffix(b"--x--\r\n") + not_base64
    gc.disable()  # which would close them, at some time
    try:
        assert refusal(send_form(api, body)) == (400, "malformed")
        files = {file.resolve().suffix for file in Path("/proc/self/fd").iterdir()}
        assert ".upload" not in files
    finally:
        gc.enable()


@pytest.mark.parametrize("boundary", ["", "; boundary=", "; boundary=é"])
def test_forms_without_a_boundary(api: APIClient, boundary: str) -> None:
    answer = post_bytes(api, f"{API}/images", b"x", content_type=f"multipart/form-data{boundary}")
    assert refusal(answer) == (400, "malformed")


# --- the rest of a request ------------------------------------------------------------------------

HEADERS = [
    "AUTHORIZATION", "ACCEPT", "IF_MATCH", "IF_NONE_MATCH", "CONTENT_DISPOSITION", "X_REQUEST_ID", "COOKIE",
    "X_CSRFTOKEN", "RANGE", "ORIGIN", "REFERER", "X_FORWARDED_FOR", "X_HTTP_METHOD_OVERRIDE",
]  # fmt: skip
HEADER_TEXTS = [
    "\0", "é", "\x80\xff", "x" * 9000, "", ",", ";", "*", "=", '"', "W/", "Bearer", "Bearer sbx_\0\0_x",
    "Bearer sbx_é_x", "Basic x", "*/*;q=x", "text/html;", "a/b/c", "attachment; filename*=utf-8''%ff%00",
]  # fmt: skip


def test_every_header(api: APIClient, alice: User, keep: Keep) -> None:
    image = f"{API}/images/{keep(alice).id}"
    for header, text in product(HEADERS, HEADER_TEXTS):
        for method, address in ("GET", image), ("PATCH", image), ("GET", f"{API}/nowhere"):
            answer = ask(api, method, address, '{"tags": []}', **{f"HTTP_{header}": text})
            assert_refused_or_done(answer, header, text[:50], method)
            assert answer.headers["X-Request-ID"] != text


def test_strange_lengths(api: APIClient) -> None:
    types = ["application/json", "image/jpeg", "multipart/form-data; boundary=x"]
    for length, kind, door in product(["-1", "x", "1e3", "²", ""], types, ["images", "uploads"]):
        headers = {"content_type": kind, "CONTENT_LENGTH": length}
        answer = ask(api, "POST", f"{API}/{door}", "x", **headers)
        assert_refused_or_done(answer, length, kind, door)


def test_strange_addresses(api: APIClient) -> None:
    names = ["%00", "images/%00", "keys/%00", "images/%ff", "%ff", "images//"]
    for name in [*names, "keys/" + "9" * 30, "keys/" + "9" * 5000]:
        assert refusal(api.delete(f"{API}/{name}")) == (404, "not_found")


@pytest.mark.parametrize(
    "cookie", [r'sessionid="\000\000\000\000\000\000\000\000"', "sessionid=\0abcdefgh"]
)
def test_a_session_cookie_that_no_column_can_hold(cookie: str) -> None:
    """Quoted cookies may have octal escapes, so a NUL comes through every web server."""
    client = Client(raise_request_exception=False)
    assert refusal(client.get(f"{API}/images", HTTP_COOKIE=cookie)) == (400, "malformed")
    for address in "/", "/login/", "/admin/":
        assert client.get(address, HTTP_COOKIE=cookie).status_code == 400


def test_pages_take_anything(alice: User) -> None:
    client = Client(raise_request_exception=False)
    client.force_login(alice)
    key_id = client_of(alice).get(f"{API}/keys").json()["results"][0]["id"]
    fields = [
        "name",
        "tags",
        "how",
        "username",
        "password",
        "scopes",
        "old_password",
        "next",
        "file",
    ]
    for address in (
        "/",
        "/upload/",
        "/login/",
        "/login/%00/",
        "/keys/",
        f"/keys/{key_id}/",
        "/account/password/",
    ):
        for text in "\0", "🐈" * 300, "x" * 5000:
            answer = client.post(address, dict.fromkeys(fields, text))
            assert answer.status_code < 500, address
            answer = client.get(
                address, dict.fromkeys(["q", "type", "tag", "cursor", "order", "next"], text)
            )
            assert answer.status_code < 500, address


@pytest.mark.parametrize("charset", ["hex", "rot13", "idna", "ascii", "nothing"])
def test_the_server_believes_no_charset(charset: str) -> None:
    """What the test client cannot show, since it makes its requests by itself."""
    answers: list[Any] = []
    environ: dict[str, Any] = {"CONTENT_TYPE": f"text/plain; charset={charset}"}
    setup_testing_defaults(environ)
    environ |= {"PATH_INFO": "/livez", "QUERY_STRING": "q=%C3%BC", "HTTP_HOST": "localhost"}

    def start_response(
        status: str, headers: Any, error: Any = None, /
    ) -> Callable[[bytes], object]:
        answers.append(status)
        return answers.append

    application(environ, start_response)
    assert answers == ["200 OK"]
