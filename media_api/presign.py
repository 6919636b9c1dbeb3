"""Presigned URLs: Signature Version 4 in the query, by arithmetic alone.

Pure functions: no I/O and no clock, the moment is an argument. For the same moment the URL is byte
for byte the one that botocore makes (`S3SigV4QueryAuth`, path-style addresses), at a fraction of
its cost. The rules are those of the Amazon S3 API reference, "Authenticating Requests: Using Query
Parameters (AWS Signature Version 4)".

A URL that is signed for the beginning of a window is the same for the whole window, so caches hit.
Windows begin at another moment for each name, so that not all URLs change at once. Moments are whole
seconds since 1970, UTC.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from hmac import digest as hmac_digest
from time import gmtime, strftime
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, urlsplit
from zlib import crc32

if TYPE_CHECKING:
    from hashlib import _Hash

LONGEST = 604_800
DAY = 86_400
DEFAULT_PORTS = {"http": 80, "https": 443}
NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Credentials:
    """Whose signature it is. The secret stays out of the representation."""

    access_key_id: str
    secret_access_key: str = field(repr=False)


@dataclass(frozen=True)
class Bucket:
    """Where the URL leads: `<endpoint>/<name>/<key>`. The endpoint is `scheme://host[:port][/path]`."""

    endpoint: str
    name: str
    region: str

    @cached_property
    def base(self) -> str:
        return f"{self.endpoint.rstrip('/')}/{self.name}/"

    @cached_property
    def path(self) -> str:
        return urlsplit(self.base).path

    @cached_property
    def host(self) -> str:
        """The Host header as clients send it: lower case, without the scheme's default port."""
        parts = urlsplit(self.endpoint)
        host = parts.hostname or ""
        if ":" in host:
            host = f"[{host}]"
        if parts.port in (None, DEFAULT_PORTS.get(parts.scheme)):
            return host
        return f"{host}:{parts.port}"


def presign(
    method: str,
    key: str,
    *,
    bucket: Bucket,
    credentials: Credentials,
    at: int,
    expires: int,
    headers: Mapping[str, str] = NOTHING,
    query: Mapping[str, str] = NOTHING,
) -> str:
    """A URL that lets whoever holds it send `method` for `key`, from `at` for `expires` seconds.

    `expires` is 1 to 604,800. `headers` are signed: the request must carry them with these values
    (Content-Length is what bounds an upload). `query` is signed and stands in the URL:
    `partNumber`, `uploadId`, `response-content-disposition` and their like. The payload is not
    signed. The host is, so a finished URL cannot be moved to another one.

    Raises ValueError for `expires` out of range.
    """
    signer = Signer(
        method,
        bucket=bucket,
        credentials=credentials,
        expires=expires,
        headers=headers,
        query=query,
    )
    return signer.url(key, at=at)


class Signer:
    """`presign` for many URLs that differ in key and moment alone: what they share is put together once a day.

    What is left for each is two hashes, of the request and of its digest.
    """

    def __init__(
        self,
        method: str,
        *,
        bucket: Bucket,
        credentials: Credentials,
        expires: int,
        headers: Mapping[str, str] = NOTHING,
        query: Mapping[str, str] = NOTHING,
    ) -> None:
        if not 1 <= expires <= LONGEST:
            raise ValueError(f"A presigned URL lives 1 to {LONGEST} seconds, not {expires}.")
        self._bucket = bucket
        self._credentials = credentials
        self._expires = expires
        self._query = query
        self._headers = {"host": bucket.host} | {
            name.lower(): " ".join(value.split()) for name, value in headers.items()
        }
        self._beginning = f"{method.upper()}\n{bucket.path}"
        self._days: dict[int, _Day] = {}

    def url(self, key: str, *, at: int) -> str:
        """The URL of this key, signed for the moment `at`."""
        return self.urls([key], at=at)[0]

    def urls(self, keys: Iterable[str], *, at: int) -> list[str]:
        """The URLs of these keys, all signed for the moment `at`."""
        number, second = divmod(at, DAY)
        day = self._days.get(number) or self._begun(number)
        minute, second = divmod(second, 60)
        moment = f"{day.date}T{TWO[minute // 60]}{TWO[minute % 60]}{TWO[second]}Z"
        request, address = moment.join(day.request), moment.join(day.address)
        scope = f"AWS4-HMAC-SHA256\n{moment}\n{day.scope}\n"
        beginning, base = self._beginning, self._bucket.base
        made = []
        for key in keys:
            path = key if PLAIN.fullmatch(key) else quote(key)
            digest = sha256(f"{beginning}{path}{request}".encode()).hexdigest()
            # HMAC (RFC 2104) from the two states that depend on the signing key alone.
            inner, outer = day.inner.copy(), day.outer.copy()
            inner.update(f"{scope}{digest}".encode())
            outer.update(inner.digest())
            made.append(f"{base}{path}{address}{outer.hexdigest()}")
        return made

    def _begun(self, number: int) -> "_Day":
        """A day more. That beside it stays: windows that began before midnight go on after it."""
        day = self._prepared(number)
        beside = {
            known: self._days[known] for known in (number - 1, number + 1) if known in self._days
        }
        self._days = {**beside, number: day}
        return day

    def _prepared(self, number: int) -> "_Day":
        """All that is the same for a whole day, which is counted from 1970."""
        date = strftime("%Y%m%d", gmtime(number * DAY))
        scope = f"{date}/{self._bucket.region}/s3/aws4_request"
        names = sorted(self._headers)
        pairs = [
            *map(_quoted, self._query.items()),
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            _quoted(("X-Amz-Credential", f"{self._credentials.access_key_id}/{scope}")),
            ("X-Amz-Date", MOMENT),
            ("X-Amz-Expires", str(self._expires)),
            _quoted(("X-Amz-SignedHeaders", ";".join(names))),
        ]
        lines = "".join([f"{name}:{self._headers[name]}\n" for name in names])
        rest = f"\n{lines}\n{';'.join(names)}\nUNSIGNED-PAYLOAD"
        key = f"AWS4{self._credentials.secret_access_key}".encode()
        for part in scope.split("/"):
            key = hmac_digest(key, part.encode(), "sha256")
        return _Day(
            date=date,
            scope=scope,
            inner=sha256(key.ljust(sha256().block_size, b"\0").translate(INNER)),
            outer=sha256(key.ljust(sha256().block_size, b"\0").translate(OUTER)),
            request=_around_moment(f"\n{_joined(sorted(pairs))}{rest}"),
            address=_around_moment(f"?{_joined(pairs)}&X-Amz-Signature="),
        )


class _Day(NamedTuple):
    """What all URLs of a signer have in common for a day; texts in two halves, between which the moment stands."""

    date: str
    scope: str
    inner: "_Hash"
    outer: "_Hash"
    request: tuple[str, str]
    address: tuple[str, str]


TWO = [f"{number:02}" for number in range(60)]  # digits
PLAIN = re.compile(r"[\w/.~-]*", re.ASCII)  # what `quote` would leave as it is
MOMENT = "\0"  # stands where it goes, and nowhere else in what is quoted
INNER = bytes(byte ^ 0x36 for byte in range(256))
OUTER = bytes(byte ^ 0x5C for byte in range(256))


def _quoted(pair: tuple[str, str]) -> tuple[str, str]:
    name, value = pair
    return quote(name, safe=""), quote(value, safe="")


def _joined(pairs: list[tuple[str, str]]) -> str:
    return "&".join([f"{name}={value}" for name, value in pairs])


def _around_moment(text: str) -> tuple[str, str]:
    before, _, after = text.partition(MOMENT)
    return before, after


def window_start(name: str, now: int, window: int) -> int:
    """The beginning of the window of `window` seconds that `now` lies in, for this name.

    Each name has its own beginnings (a hash of it shifts them), the same in every process. A window
    has at most 302,400 seconds, half of what a URL may live, since a URL lives for two: one that is
    handed out at any moment of its window has at least another window to live.

    Raises ValueError for a window out of range.
    """
    if not 1 <= window <= LONGEST // 2:
        raise ValueError(f"A window has 1 to {LONGEST // 2} seconds, not {window}.")
    return now - (now - crc32(name.encode())) % window
