"""Whatever stands in a body, at every address that takes one: refused or done, and never a fault of ours.

The addresses and a good body of each come from the table of `test_permissions`, so that a new one is covered by itself.
"""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_plus, urlencode

import pytest
from django.test.client import BOUNDARY, MULTIPART_CONTENT

from media_api.storage import ImageStorage
from tests.sending import Answer, refusal
from tests.test_permissions import FORM, LINES, Actor, Line, World, body_of, takes_keys

WRITING = [line for line in LINES if line.method in ("POST", "PATCH", "PUT")]
JSON = "application/json"
AGAIN = (
    "api/v1/uploads/<uuid:upload_id>/complete",
    "api/v1/images/restore",
    "api/v1/images/links",
)  # as often as one likes

VALUES = [
    "null", "true", "1", "-1", "0", "1.5", "1e400", "-1e400", "NaN", "Infinity", "-Infinity", "9" * 4000, "9" * 10_000,
    "-" + "9" * 30, '""', r'"\u0000"', r'"a\u0000b"', r'"\ud800"', r'"\udfff\ud800"', '"\x00"',
    '"' + "x" * 100_000 + '"',
    '"\U0001f4a5"', r'"\r\n"', "[]", "{}", "[[]]", "[{}]", "[null]", r'["\u0000"]', r'["\ud800"]', "[1]", "[true]",
    "[" * 200 + "]" * 200, '{"a": {"a": {}}}', '["' + '","'.join(map(str, range(5000))) + '"]', '["x", ["x"]]',
    '"0000-00-00T00:00:00Z"', '"0001-01-01T00:00:00+23:59"', '"9999-12-31T23:59:59-23:59"', '"99999-01-01T00:00:00Z"',
    '"2026-13-45T99:99:99Z"', '"-2026-01-01"', '"2026-01-01"', '"01990000-0000-7000-8000-000000000000"',
]  # fmt: skip
KEEPABLE = [
    "9" * 4000, "1e400", r'"a\u0000b"', r'"\ud800"', r'["a\u0000b"]', '"' + "x" * 100_000 + '"',
    '"0001-01-01T00:00:00+23:59"', '"9999-12-31T23:59:59-23:59"',
]  # fmt: skip
TEXTS: list[tuple[bytes, str]] = [
    (text, JSON)
    for text in (
        b"", b"null", b"[]", b'"x"', b"1", b"\xff", b"\xef\xbb\xbf{}", b"{", b"{}{}", b"\0", b"1" * 10_000,
        b"[" * 200_000, b'{"a":' * 100_000, b"[" * 2_500_000 + b"]" * 2_500_000, b'{"a":1,"a":2}',
        '{"name": "é"}'.encode("utf-16"), '{"name": "é"}'.encode("utf-32"),
        b'{"name": "\xed\xa0\x80"}', b'{"\\u0000": 1}',
    )
]  # fmt: skip
TEXTS += [
    (b"{}", "application/json; charset=utf-7"),
    (b"\x1f\x8b\x08\x00", JSON),
    (b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>", "text/xml"),
    (b"x", ""),
    (b"x", "x" * 5000),
    (b"x", "multipart/form-data"),
    (b"x", "multipart/mixed; boundary=x"),
]  # fmt: skip


@pytest.fixture
def world(storage: ImageStorage) -> World:
    return World(storage)


class Sender:
    """alice in her browser, who owns what she writes to. What was done is undone."""

    def __init__(self, world: World) -> None:
        self.world, self.actor = world, self._alice(world)
        self.actor.arrive()

    @staticmethod
    def _alice(world: World) -> Actor:
        return next(actor for actor in world.actors if actor.name == "owner, session")

    def send(self, line: Line, body: bytes, content_type: str, **headers: str) -> Answer:
        client: Any = self.actor.client
        target = next(self.world.targets(self.actor, line.route, is_taken=True))
        path = target.path(line.route) + "?wait=0"
        answer = client.generic(line.method, path, body, content_type, **headers)
        case = (line.method, path, content_type[:80], body[:80], answer.status_code)
        assert answer.status_code < 500, case
        if answer.status_code >= 400 and takes_keys(line.route):
            refusal(answer)
        if answer.status_code < 400 and not line.route.endswith(AGAIN):
            self.world.begin_again()
            self.actor.arrive()
        return answer

    def good(self, line: Line) -> tuple[bytes, str]:
        return body_of(self.world, line.route, line.method)


@pytest.fixture
def sender(world: World) -> Sender:
    return Sender(world)


def names(line: Line) -> str:
    return f"{line.method} {line.route}"


@pytest.mark.parametrize("line", WRITING, ids=names)
def test_every_field_of_every_body(sender: Sender, line: Line) -> None:
    body, content_type = sender.good(line)
    if content_type == JSON:
        for changed in json_bodies(json.loads(body)):
            sender.send(line, changed.encode(), JSON)
    elif content_type == FORM:
        for changed in form_bodies(body.decode()):
            sender.send(line, changed.encode(), FORM)


OPTIONAL = {
    "sha256": "x",
    "expires_at": None,
    "side": 320,
}  # of JSON, beside the fields of a good body


def json_bodies(good: dict[str, Any]) -> Iterator[str]:
    """Every value in all fields at once; those that could be kept also in each field alone."""
    fields = {name: json.dumps(value) for name, value in {**OPTIONAL, **good}.items()}
    for value in VALUES:
        yield written(dict.fromkeys(fields, value))
    for name in fields:
        for value in KEEPABLE:
            yield written({**fields, name: value})


def written(fields: dict[str, str]) -> str:
    return "{" + ", ".join(f'"{name}": {text}' for name, text in fields.items()) + "}"


def form_bodies(good: str) -> Iterator[str]:
    pairs = [pair.split("=", 1) for pair in good.split("&")] + [["expires_at", ""], ["next", ""]]
    for name, _ in pairs:
        others = "&".join("=".join(pair) for pair in pairs if pair[0] != name)
        for value in (
            "%00",
            "%ff",
            "%ED%A0%80",
            "x" * 5000,
            quote_plus("💥" * 300),
            "-1",
            "9" * 5000,
            "a%0d%0ab",
        ):
            yield f"{others}&{name}={value}"
        yield f"{others}&" + "&".join([f"{name}=x"] * 500)


@pytest.mark.filterwarnings(
    "ignore:.*.upload:pytest.PytestUnraisableExceptionWarning"
)  # Django leaves one open
@pytest.mark.parametrize("line", WRITING, ids=names)
def test_every_body_that_is_none(sender: Sender, line: Line) -> None:
    for body, content_type in [*TEXTS, *multipart()]:
        sender.send(line, body, content_type)
    body, content_type = sender.good(line)
    sender.send(line, body, content_type, HTTP_CONTENT_ENCODING="gzip")
    sender.send(line, body, content_type, HTTP_TRANSFER_ENCODING="gzip, chunked")
    sender.send(line, body[: len(body) // 2], content_type)
    sender.send(line, body * 2, content_type)
    sender.send(line, body + b"x" * 1000, content_type)
    sender.send(line, urlencode([(str(n), "x") for n in range(10_000)]).encode(), FORM)


def multipart() -> Iterator[tuple[bytes, str]]:
    def part(head: str, body: bytes = b"x") -> bytes:
        return f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + body + b"\r\n"

    end = f"--{BOUNDARY}--\r\n".encode()
    field = 'Content-Disposition: form-data; name="name"'
    file = 'Content-Disposition: form-data; name="file"; filename="cat.jpg"'
    nested = part(
        f"{field}\r\nContent-Type: multipart/mixed; boundary=y",
        b"--y\r\n" + part(file) + b"--y--\r\n",
    )
    for body in (
        part(field),
        part(file),
        part(field) * 1000 + end,
        part(file) * 1000 + end,
        part(field) * 10_000 + end,
        part(f"{field}\r\nX: {'a' * 1_000_000}") + end,
        part(f"{field}; {'; '.join(f'a{n}=b' for n in range(10_000))}") + end,
        part(f"{file}\r\nContent-Transfer-Encoding: base64", b"!") + end,
        part(f"{field}\r\nContent-Transfer-Encoding: base64", b"!") + end,
        part(f"{file}\r\nContent-Type: text/plain; charset=zlib") + end,
        part(file.replace("cat", "../../../etc/passwd\\")) + end,
        part(file.replace("cat", "%00\\x00")) + end,
        part(f"{file}\r\nContent-Length: -1") + end,
        part("Content-Disposition: form-data") + end,
        part("", b"") + end,
        nested + end,
        end,
        b"\r\n" * 100_000,
        b"-" * 100_000,
    ):
        yield body, MULTIPART_CONTENT
    yield (
        part(field).replace(BOUNDARY.encode(), b"b" * 10_000),
        f"multipart/form-data; boundary={'b' * 10_000}",
    )
    yield b"x", "multipart/form-data; boundary=" + "b" * 71


def test_the_good_bodies_are_good(sender: Sender) -> None:
    """Else the tests above would change what is refused anyway."""
    for line in WRITING:
        answer = sender.send(line, *sender.good(line))
        assert answer.status_code == (
            302 if line.who == "anyone" and line.route == "login/" else line.own
        ), line
