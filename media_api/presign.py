"""Presigned URLs: Signature Version 4 in the query, by arithmetic alone.

Pure functions: no I/O and no clock, the moment is an argument. For the same moment the URL is byte
for byte the one that botocore makes (`S3SigV4QueryAuth`, path-style addresses), at a fraction of
its cost. The rules are those of the Amazon S3 API reference, "Authenticating Requests: Using Query
Parameters (AWS Signature Version 4)".

A URL that is signed for the beginning of a window is the same for the whole window, so caches hit.
Windows begin at another moment for each key, so that not all URLs change at once.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from hashlib import sha256
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import quote, urlsplit
from zlib import crc32

LONGEST = 604_800
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
    at: datetime,
    expires: int,
    headers: Mapping[str, str] = NOTHING,
    query: Mapping[str, str] = NOTHING,
) -> str:
    """A URL that lets whoever holds it send `method` for `key`, from `at` for `expires` seconds.

    `expires` is 1 to 604,800. `headers` are signed: the request must carry them with these values
    (Content-Length is what bounds an upload). `query` is signed and stands in the URL:
    `partNumber`, `uploadId`, `response-content-disposition` and their like. The payload is not
    signed. The host is, so a finished URL cannot be moved to another one.

    Raises ValueError for `expires` out of range, and for an `at` without a time zone.
    """
    if not 1 <= expires <= LONGEST:
        raise ValueError(f"A presigned URL lives 1 to {LONGEST} seconds, not {expires}.")
    moment = f"{_utc(at):%Y%m%dT%H%M%SZ}"
    signer = _signer(
        credentials.access_key_id, credentials.secret_access_key, moment[:8], bucket.region
    )
    signed = {"host": bucket.host}
    for name, value in headers.items():
        signed[name.lower()] = " ".join(value.split())
    names = sorted(signed)
    parameters = (
        f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={signer.credential}"
        f"&X-Amz-Date={moment}&X-Amz-Expires={expires}&X-Amz-SignedHeaders={'%3B'.join(names)}"
    )
    canonical_parameters = parameters
    if query:
        own = "&".join([f"{quote(name, safe='')}={quote(query[name], safe='')}" for name in query])
        parameters = f"{own}&{parameters}"
        # By name, then by value: as whole strings `a-b=` would come before `a=`.
        pairs = sorted(parameters.split("&"), key=lambda pair: pair.split("="))
        canonical_parameters = "&".join(pairs)
    quoted_key = quote(key)
    lines = "".join([f"{name}:{signed[name]}\n" for name in names])
    request = (
        f"{method.upper()}\n{bucket.path}{quoted_key}\n{canonical_parameters}\n"
        f"{lines}\n{';'.join(names)}\nUNSIGNED-PAYLOAD"
    )
    digest = sha256(request.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{moment}\n{signer.scope}\n{digest}"
    signature = hmac.digest(signer.key, text.encode(), "sha256").hex()
    return f"{bucket.base}{quoted_key}?{parameters}&X-Amz-Signature={signature}"


class _Signer(NamedTuple):
    key: bytes
    scope: str
    credential: str


@lru_cache(maxsize=64)
def _signer(access_key_id: str, secret: str, day: str, region: str) -> _Signer:
    key = f"AWS4{secret}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    scope = f"{day}/{region}/s3/aws4_request"
    return _Signer(key, scope, quote(f"{access_key_id}/{scope}", safe=""))


def window_start(key: str, now: datetime, window: int) -> datetime:
    """The beginning of the window of `window` seconds that `now` lies in, for this key.

    Each key has its own beginnings (a hash of it shifts them), the same in every process. A window
    has at most 302,400 seconds, half of what a URL may live, since a URL lives for two.

    Raises ValueError for a window out of range, and for a `now` without a time zone.
    """
    if not 1 <= window <= LONGEST // 2:
        raise ValueError(f"A window has 1 to {LONGEST // 2} seconds, not {window}.")
    seconds = int(_utc(now).timestamp())
    since = (seconds - crc32(key.encode())) % window
    return datetime.fromtimestamp(seconds - since, UTC)


def expires_at(key: str, now: datetime, window: int) -> datetime:
    """The end of the next window: what is handed out `now` lives one to two windows.

    That is `2 * window` seconds after `window_start`, so the URL is signed with that `expires`.
    Raises as `window_start` does.
    """
    return window_start(key, now, window) + timedelta(seconds=2 * window)


def _utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("A moment needs a time zone.")
    return moment.astimezone(UTC)
