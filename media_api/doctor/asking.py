"""A request as any client sends it: nothing is added, followed or tried again."""

import re
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPConnection, HTTPSConnection
from types import MappingProxyType
from urllib.parse import urlsplit

PATIENCE = 5  # seconds, for each step of it
LONGEST = 64 * 1024
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Message
    body: bytes

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_refusal(self) -> bool:
        return 400 <= self.status < 500

    def __str__(self) -> str:
        """The status with the store's error code. Never more of the body: stores quote signatures in it."""
        code = re.search(rb"<Code>(\w+)</Code>", self.body)
        return f"{self.status} {code[1].decode()}" if code else str(self.status)


def ask(
    method: str,
    url: str,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] = NO_HEADERS,
    at: str = "",
) -> Answer:
    """Send it to the host of `url`, or to the endpoint `at` in the name of that host.

    Raises OSError and HTTPException.
    """
    parts, place = urlsplit(url), urlsplit(at or url)
    connect = HTTPSConnection if place.scheme == "https" else HTTPConnection
    with closing(connect(place.netloc, timeout=PATIENCE)) as connection:
        target = f"{parts.path or '/'}?{parts.query}".rstrip("?")
        connection.request(method, target, body, {"Host": parts.netloc, **headers})
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read(LONGEST))
