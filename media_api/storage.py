"""The bucket: everything that is ever asked of it, in one place.

Bytes arrive under `staging/`, the only prefix that a client's URL can write to; what was examined is kept under
`images/` by us alone. Calls are made by the app's identity. Uploads are signed by a second identity that can do nothing
but put objects under `staging/`, because on some stores an upload URL of a stronger one copies other people's images.
Links are made by arithmetic, without asking the bucket (see `presign`).

Every call raises StorageUnavailable when the bucket does not answer or refuses; none may stand in a transaction.
"""

import hashlib
import os
import re
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import quote

import boto3
import urllib3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.handlers import add_expect_header
from botocore.parsers import ResponseParserError
from django.core.files.storage import storages
from storages.backends.s3 import S3Storage

from .exceptions import StorageUnavailable
from .faults import fault_point, halfway
from .presign import Bucket, Credentials, Signer, presign, window_start
from .waiters import waiters

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, GetObjectOutputTypeDef

IMMUTABLE = "private, max-age=31536000, immutable"
META = "_meta/"
EPOCH_KEY, TURN_KEY = f"{META}epoch", f"{META}turn"
CHUNK = 256 * 1024
MISSING = {"NoSuchKey", "NoSuchUpload"}
MD5 = re.compile("[0-9a-f]{32}")
AT_ONCE = 4  # objects that are put beside each other
MOST_KEYS = 1000  # that one DeleteObjects may name
PROBE_TIMEOUT = 2.0  # seconds


class Link(NamedTuple):
    """What a viewer is given: an address, and the moment it dies."""

    url: str
    expires_at: datetime


@dataclass(frozen=True)
class Part:
    """A part that has arrived; the size is in bytes."""

    number: int
    size: int
    etag: str


@dataclass(frozen=True)
class StoredObject:
    """What a listing says of an object: bytes, and the moment it was written by the store's clock."""

    key: str
    size: int
    written_at: datetime


class ImageStorage(S3Storage):  # type: ignore[misc]
    """A django-storages S3Storage with one client for all threads, our own signer, and verbs for what we do."""

    def __init__(
        self,
        *,
        endpoint_url: str,
        public_endpoint_url: str,
        upload_credentials: tuple[str, str],
        link_window: int,
        **options: Any,
    ) -> None:
        super().__init__(
            endpoint_url=endpoint_url, client_config=CLIENT_CONFIG, default_acl=None, **options
        )
        self.link_window = link_window
        self.inner = Bucket(endpoint_url, self.bucket_name, self.region_name)
        self.public = Bucket(public_endpoint_url, self.bucket_name, self.region_name)
        self.viewer = Credentials(self.access_key, self.secret_key)
        self.uploader = Credentials(*upload_credentials)
        self._lock = threading.Lock()
        self._beside = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="put")
        self._client: S3Client | None = None
        self._signers: dict[str, Signer] = {}

    @property
    def client(self) -> "S3Client":
        """One for all threads, made when it is first needed: each costs 84 ms and 12 MiB."""
        with self._lock:
            if self._client is None:
                self._client = self._new_client(self.client_config)
            return self._client

    def _new_client(self, config: Config) -> "S3Client":
        client = boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint_url,
            region_name=self.region_name,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=config,
        )
        client.meta.events.register("before-call.s3.DeleteObjects", with_md5)
        # Else each PUT would wait a round trip for leave to send its body.
        client.meta.events.unregister("before-call.s3", add_expect_header)
        return client

    # --- what clients send ----------------------------------------------------------------------

    def presign_put(self, key: str, *, size: int, content_type: str, lifetime: int) -> str:
        """A URL that takes exactly `size` bytes of exactly this type under `key`, for `lifetime` seconds."""
        headers = {"Content-Length": str(size), "Content-Type": content_type}
        return self._presign_upload(key, lifetime, headers, {})

    def presign_part(
        self, key: str, multipart_id: str, *, number: int, size: int, lifetime: int
    ) -> str:
        """A URL that takes exactly `size` bytes as part `number` (from 1)."""
        query = {"partNumber": str(number), "uploadId": multipart_id}
        return self._presign_upload(key, lifetime, {"Content-Length": str(size)}, query)

    def _presign_upload(
        self, key: str, lifetime: int, headers: dict[str, str], query: dict[str, str]
    ) -> str:
        return presign(
            "PUT",
            key,
            bucket=self.public,
            credentials=self.uploader,
            at=int(time.time()),
            expires=lifetime,
            headers=headers,
            query=query,
        )

    def stage(self, key: str, file: IO[bytes], *, size: int, content_type: str) -> None:
        """Put `size` bytes of a file under a staging key, in constant memory."""
        self._put(key, file, ContentLength=size, ContentType=content_type)

    def _put(self, key: str, file: IO[bytes], **headers: Any) -> None:
        """With the MD5 of what we mean, which every store holds against what arrives."""
        digest = b64encode(md5_of(file).digest()).decode()
        with answered():
            answer = self.client.put_object(
                Bucket=self.bucket_name,
                Key=key,
                Body=halfway("put_half", file),
                ContentMD5=digest,
                **headers,
            )
        etag_of(answer)

    def begin_parts(self, key: str, *, content_type: str) -> str:
        """The store's UploadId of a new upload in parts."""
        with answered():
            answer = self.client.create_multipart_upload(
                Bucket=self.bucket_name, Key=key, ContentType=content_type
            )
        return answer["UploadId"]

    def parts(self, key: str, multipart_id: str) -> list[Part]:
        """The parts that have arrived, by number. FileNotFoundError when the store knows no such upload."""
        with answered():
            pages = self.client.get_paginator("list_parts").paginate(
                Bucket=self.bucket_name, Key=key, UploadId=multipart_id
            )
            return [
                Part(part["PartNumber"], part["Size"], part["ETag"])
                for page in pages
                for part in page.get("Parts", [])
            ]

    def join_parts(self, key: str, multipart_id: str, parts: list[Part]) -> None:
        """Make one object of the parts. FileNotFoundError when they were joined, or aborted, before."""
        joined: list[CompletedPartTypeDef] = [
            {"PartNumber": part.number, "ETag": part.etag} for part in parts
        ]
        with answered():
            self.client.complete_multipart_upload(
                Bucket=self.bucket_name,
                Key=key,
                UploadId=multipart_id,
                MultipartUpload={"Parts": joined},
            )

    def abort_parts(self, key: str, multipart_id: str) -> None:
        """Remove the parts of an upload that was not joined; none is fine."""
        with answered(missing_is_fine=True):
            self.client.abort_multipart_upload(
                Bucket=self.bucket_name, Key=key, UploadId=multipart_id
            )

    def open_parts(self, key: str = "") -> list[tuple[str, str]]:
        """Key and UploadId of what is being sent in parts: under one exact key, or everywhere.

        MinIO finds nothing for a shorter prefix; rclone answers NoSuchUpload where there is none.
        """
        with answered(missing_is_fine=True):
            pages = self.client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self.bucket_name, Prefix=key
            )
            return [
                (upload["Key"], upload["UploadId"])
                for page in pages
                for upload in page.get("Uploads", [])
            ]
        return []

    # --- what we keep ---------------------------------------------------------------------------

    def fetch(self, key: str, file: IO[bytes], *, limit: int) -> tuple[int, str]:
        """Copy an object into a file and rewind it; its size in bytes and SHA-256, computed on the way.

        Reads at most one byte more than `limit`. Raises FileNotFoundError, and StorageUnavailable when other bytes
        arrive than the store has: an ETag that looks like an MD5 is one (but of an object encrypted with a key of the
        customer's), and what has another ETag must come twice the same.
        """
        answer, size, sha256 = self._copy(key, file, limit)
        file.seek(0)
        etag = etag_of(answer)
        if size > limit:
            return size, sha256
        if MD5.fullmatch(etag) and not answer.get("SSEKMSKeyId"):
            is_whole = etag == md5_of(file).hexdigest()
        else:
            with Path(os.devnull).open("wb") as nowhere:
                is_whole = self._copy(key, nowhere, limit)[1:] == (size, sha256)
        if not is_whole:
            raise StorageUnavailable("Other bytes arrived than the store has.")
        return size, sha256

    def _copy(
        self, key: str, file: IO[bytes], limit: int
    ) -> "tuple[GetObjectOutputTypeDef, int, str]":
        sha256, size = hashlib.sha256(), 0
        with answered():
            answer = self.client.get_object(Bucket=self.bucket_name, Key=key)
            with answer["Body"] as body:
                while size <= limit and (chunk := body.read(min(CHUNK, limit + 1 - size))):
                    sha256.update(chunk)
                    file.write(chunk)
                    size += len(chunk)
                    fault_point("object_half_read")
        return answer, size, sha256.hexdigest()

    def digest(self, key: str, *, limit: int) -> tuple[int, str]:
        """Read an object to its end, or one byte beyond `limit`: size and SHA-256. Raises FileNotFoundError."""
        with Path(os.devnull).open("wb") as nowhere:
            _, size, sha256 = self._copy(key, nowhere, limit)
        return size, sha256

    def keep(
        self, key: str, body: IO[bytes] | bytes, *, content_type: str, caching: str = IMMUTABLE
    ) -> None:
        """Put bytes under a key of ours, where they never change unless `caching` says so."""
        file = BytesIO(body) if isinstance(body, bytes) else body
        fault_point("object_to_keep")
        self._put(key, file, ContentType=content_type, CacheControl=caching)
        fault_point("object_kept")

    def keep_all(self, bodies: Mapping[str, bytes], *, content_type: str) -> None:
        """Keep several beside each other. None is on its way any more when this ends, also if one has failed."""
        puts = [
            self._beside.submit(self.keep, key, body, content_type=content_type)
            for key, body in bodies.items()
        ]
        wait(puts)
        for put in puts:
            put.result()

    def read(self, key: str) -> bytes:
        """A small object, whole. Raises FileNotFoundError."""
        with answered():
            answer = self.client.get_object(Bucket=self.bucket_name, Key=key)
            etag_of(answer)
            return answer["Body"].read()

    def size_of(self, key: str) -> int | None:
        """Bytes of an object, or None when there is none."""
        try:
            with answered():
                answer = self.client.head_object(Bucket=self.bucket_name, Key=key)
        except FileNotFoundError:
            return None
        etag_of(answer)
        return answer["ContentLength"]

    def probe(self) -> tuple[int, timedelta]:
        """The status of a HEAD of the epoch, and how far the clock of the store is ahead of ours.

        Asked only once and for seconds, by somebody who will ask again soon: the client has the patience of an upload.
        """
        url = presign(
            "HEAD",
            EPOCH_KEY,
            bucket=self.inner,
            credentials=self.viewer,
            at=int(time.time()),
            expires=60,
        )
        with answered():
            answer = urllib3.request("HEAD", url, timeout=PROBE_TIMEOUT, retries=False)
        date = answer.headers.get("Date")
        now = datetime.now(UTC)
        return answer.status, (parsedate_to_datetime(date) if date else now) - now

    def type_of(self, key: str) -> str | None:
        """Media type that the store has for an object, or None when there is no object."""
        try:
            with answered():
                return self.client.head_object(Bucket=self.bucket_name, Key=key)["ContentType"]
        except FileNotFoundError:
            return None

    def objects(self, prefix: str, *, after: str = "") -> Iterator[StoredObject]:
        """All objects whose keys begin with `prefix` and come after `after`, a page of 1,000 at a time.

        In the order of their keys (S3, ListObjectsV2).
        """
        with answered():
            for page in self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket_name, Prefix=prefix, StartAfter=after
            ):
                for item in page.get("Contents", []):
                    yield StoredObject(item["Key"], item["Size"], item["LastModified"])

    def keys(self, prefix: str) -> Iterator[str]:
        """All keys that begin with `prefix`."""
        return (stored.key for stored in self.objects(prefix))

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects, a thousand a call; what is not there is fine. Some may be kept back."""
        left, stay = iter(keys), set[str]()
        while batch := set(islice(left, MOST_KEYS)):
            stay |= batch - self._removed(batch)
            fault_point("object_removed")
        if stay:
            raise StorageUnavailable(kept_back=stay)

    def _removed(self, keys: set[str]) -> set[str]:
        """Those that are gone. An answer of 200 has errors inside (S3, DeleteObjects), so what it does not name is not.

        What XML cannot say (Extensible Markup Language 1.0, 2.2) is removed by itself.
        """
        unspeakable = {key for key in keys if not key.isprintable()}
        for key in unspeakable:
            with answered(missing_is_fine=True):
                self.client.delete_object(Bucket=self.bucket_name, Key=key)
        if keys == unspeakable:
            return keys
        with answered():
            answer = self.client.delete_objects(
                Bucket=self.bucket_name,
                Delete={"Objects": [{"Key": key} for key in keys - unspeakable]},
            )
        gone = {deleted["Key"] for deleted in answer.get("Deleted", [])}
        missing = {error["Key"] for error in answer.get("Errors", []) if error["Code"] in MISSING}
        return unspeakable | gone | missing

    def make_bucket(self) -> bool:
        """Make the bucket unless it is there; whether it was made."""
        try:
            with answered():
                self.client.head_bucket(Bucket=self.bucket_name)
        except FileNotFoundError:
            with answered():
                self.client.create_bucket(Bucket=self.bucket_name)
            return True
        return False

    def open_to_all(self) -> list[str]:
        """What anybody can do here without a key, each a verb and its object: nothing, if the bucket is private.

        A policy may open `images/` alone, so the first object there is asked for too.
        """
        bucket, attempts = self.bucket_name, dict[str, Callable[[], object]]()
        unsigned = self.client_config.merge(Config(signature_version=UNSIGNED))
        with closing(self._new_client(unsigned)) as anybody:
            attempts["list its keys"] = partial(anybody.list_objects_v2, Bucket=bucket, MaxKeys=1)
            for key in (EPOCH_KEY, *islice(self.keys("images/"), 1)):
                attempts[f"read {key}"] = partial(anybody.head_object, Bucket=bucket, Key=key)
            return [what for what, attempt in attempts.items() if _is_let_in(attempt)]

    # --- what viewers get -----------------------------------------------------------------------

    def url(self, name: str, *_: Any, **__: Any) -> str:
        """What django-storages would sign anew each time, and for the endpoint that only the app can reach."""
        return self.link(name).url

    def link(self, key: str, *, content_type: str = "", download_as: str = "") -> Link:
        """A link that shows an object, or saves it as `download_as`; the same for a whole window, without I/O.

        Type and caching are signed in: a store may forget them (rclone does when it restarts).
        """
        start = self.window_start(key)
        if not download_as:
            return self.links([key], content_type, start=start)[0]
        url = self._signer(content_type, download_as).url(key, at=start)
        return Link(url, self._end(start))

    def links(self, keys: Iterable[str], content_type: str, *, start: int) -> list[Link]:
        """Links that show objects of one type, as they are from `start` on, the `window_start` of their folder: all
        that are made for the same change, and die, together."""
        end = self._end(start)
        return [Link(url, end) for url in self._showing(content_type).urls(keys, at=start)]

    def window_start(self, key: str) -> int:
        """When the links to this key, and to all in its folder, became what they are (seconds since 1970)."""
        return window_start(key.rpartition("/")[0], int(time.time()), self.link_window)

    def _end(self, start: int) -> datetime:
        return datetime.fromtimestamp(start + 2 * self.link_window, UTC)

    def _showing(self, content_type: str) -> Signer:
        """There are few types, so each has a signer for good."""
        signer = self._signers.get(content_type)
        if signer is None:
            signer = self._signers[content_type] = self._signer(content_type)
        return signer

    def _signer(self, content_type: str, download_as: str = "") -> Signer:
        query = {"response-cache-control": IMMUTABLE}
        if content_type:
            query["response-content-type"] = content_type
        if download_as:
            query["response-content-disposition"] = attachment(download_as)
        return Signer(
            "GET",
            bucket=self.public,
            credentials=self.viewer,
            expires=2 * self.link_window,
            query=query,
        )


CLIENT_CONFIG = Config(
    signature_version="s3v4",
    s3={"addressing_style": "path"},
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
    connect_timeout=2,
    read_timeout=10,
    retries={"mode": "standard", "total_max_attempts": 2},
    max_pool_connections=32,
)


@contextmanager
def answered(*, missing_is_fine: bool = False) -> Iterator[None]:
    """Rename what botocore raises: FileNotFoundError for what is not there, StorageUnavailable for the rest."""
    try:
        with waiters.one_more():
            yield
    except ClientError as error:
        if not is_missing(error):
            raise StorageUnavailable from error
        if not missing_is_fine:
            raise FileNotFoundError from error
    except (BotoCoreError, ResponseParserError, urllib3.exceptions.HTTPError) as error:
        raise StorageUnavailable from error


def is_missing(error: ClientError) -> bool:
    """Whether the store says so. A mere 404 is that of a proxy which does not know where the store is, but to HEAD,
    whose answer has no body to say more."""
    code = error.response["Error"]["Code"]
    return code in MISSING or (code == "404" and error.operation_name.startswith("Head"))


def etag_of(answer: Mapping[str, Any]) -> str:
    """What every store says of an object, and a captive portal in its place does not."""
    if not answer.get("ETag"):
        raise StorageUnavailable("It was not a store that answered.")
    return str(answer["ETag"]).strip('"').lower()


def md5_of(file: IO[bytes]) -> "hashlib._Hash":
    """The MD5 of a file, which is rewound before and after."""
    file.seek(0)
    digest = hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False))  # type: ignore[arg-type]
    file.seek(0)
    return digest


def with_md5(params: dict[str, Any], **_: Any) -> None:
    """A DeleteObjects with the checksum that every store knows. Many refuse the CRC-32 that botocore would send."""
    digest = hashlib.md5(params["body"], usedforsecurity=False).digest()
    params["headers"]["Content-MD5"] = b64encode(digest).decode()
    params["context"].pop("checksum", None)


def _is_let_in(attempt: Callable[[], object]) -> bool:
    try:
        with answered():
            attempt()
    except FileNotFoundError:
        return False
    except StorageUnavailable as error:
        if not _is_refusal(error.__cause__):
            raise
        return False
    return True


def _is_refusal(error: BaseException | None) -> bool:
    return (
        isinstance(error, ClientError)
        and error.response["ResponseMetadata"]["HTTPStatusCode"] < 500
    )


def attachment(name: str) -> str:
    """A Content-Disposition that saves under this name (RFC 6266; the exact name as RFC 8187 has it)."""
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def image_storage() -> ImageStorage:
    """The storage of the settings, one for each process."""
    return cast(ImageStorage, storages["default"])
