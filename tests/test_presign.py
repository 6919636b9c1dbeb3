"""The signer gives what botocore gives, and a URL stays the same for a window."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import boto3
import pytest
from botocore import auth as botocore_auth
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials as BotocoreCredentials
from botocore.utils import percent_encode
from hypothesis import example, given, settings
from hypothesis import strategies as st

from media_api.presign import Bucket, Credentials, Signer, presign, window_start

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
CREDENTIALS = Credentials("AKIA/+EXAMPLE", SECRET)
BUCKET = Bucket("http://127.0.0.1:9000", "shoebox", "us-east-1")
NOON = int(datetime(2026, 11, 21, 12, 0, tzinfo=UTC).timestamp())
WINDOW = 3600

ENDPOINTS = (
    "http://127.0.0.1:9000",
    "http://minio",
    "http://localhost:80",
    "https://bucket.example.org",
    "https://bucket.example.org:443",
    "https://Bucket.Example.org:8443/store",
    "http://[::1]:9000",
    "https://[2001:db8::1]",
)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
keys = text.filter(bool) | st.text(alphabet=" +~/%&=?#.;:@'()*!$,äö日😀", min_size=1, max_size=30)
moments = st.integers(946_684_800, 4_070_908_800)  # 2000 to 2098
lives = st.integers(1, 604_800)
buckets = st.builds(
    Bucket,
    st.sampled_from(ENDPOINTS),
    st.sampled_from(["shoebox", "my.bucket-2"]),
    st.sampled_from(["us-east-1", "eu-central-1", "auto"]),
)
header_values = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)
headers = st.dictionaries(
    st.sampled_from(["Content-Length", "content-type", "X-Amz-Acl", "if-none-match", "A-B", "Z"]),
    header_values,
    max_size=4,
)
query_names = st.sampled_from(["a", "a-b", "a b", "partNumber", "uploadId", "x-id", "Z", "ä+"])


def botocore_presign(
    method: str,
    key: str,
    *,
    bucket: Bucket,
    at: int,
    expires: int,
    headers: Mapping[str, str],
    query: Mapping[str, str],
) -> str:
    url = f"{bucket.endpoint}/{bucket.name}/{percent_encode(key, safe='/~')}"
    request = AWSRequest(method, url, headers=dict(headers), params=dict(query))
    credentials = BotocoreCredentials(CREDENTIALS.access_key_id, SECRET)
    with patch.object(
        botocore_auth, "get_current_datetime", lambda: datetime.fromtimestamp(at, UTC)
    ):
        S3SigV4QueryAuth(credentials, "s3", bucket.region, expires).add_auth(request)
    return str(request.url)


@settings(max_examples=300, deadline=None)
@given(
    method=st.sampled_from(["GET", "PUT", "HEAD", "DELETE", "POST"]),
    key=keys,
    bucket=buckets,
    at=moments,
    expires=lives,
    headers=headers,
    query=st.dictionaries(query_names, text, max_size=5),
)
@example("GET", "a b+c~d/e//é.jpg", BUCKET, NOON, 60, {}, {"a": "", "a-b": "1"})
@example("PUT", "/", BUCKET, NOON, 604_800, {"Content-Length": "0"}, {})
def test_the_url_is_botocores(
    method: str,
    key: str,
    bucket: Bucket,
    at: int,
    expires: int,
    headers: dict[str, str],
    query: dict[str, str],
) -> None:
    ours = presign(
        method,
        key,
        bucket=bucket,
        credentials=CREDENTIALS,
        at=at,
        expires=expires,
        headers=headers,
        query=query,
    )
    assert ours == botocore_presign(
        method, key, bucket=bucket, at=at, expires=expires, headers=headers, query=query
    )


def client_presign(operation: str, bucket: Bucket, at: int, expires: int, **parameters: Any) -> str:
    with patch.object(
        botocore_auth, "get_current_datetime", lambda: datetime.fromtimestamp(at, UTC)
    ):
        return clients[bucket.endpoint].generate_presigned_url(
            operation, Params={"Bucket": bucket.name, **parameters}, ExpiresIn=expires
        )


clients = {
    endpoint: boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=CREDENTIALS.access_key_id,
        aws_secret_access_key=SECRET,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
    for endpoint in ENDPOINTS
}
plain_buckets = st.builds(
    Bucket, st.sampled_from(ENDPOINTS), st.just("shoebox"), st.just("us-east-1")
)


@settings(max_examples=100, deadline=None)
@given(key=keys, bucket=plain_buckets, at=moments, expires=lives, name=text)
def test_a_link_that_saves_under_a_name_is_the_clients(
    key: str, bucket: Bucket, at: int, expires: int, name: str
) -> None:
    disposition = f'attachment; filename="{name}"'
    ours = presign(
        "GET",
        key,
        bucket=bucket,
        credentials=CREDENTIALS,
        at=at,
        expires=expires,
        query={"response-content-disposition": disposition},
    )
    assert ours == client_presign(
        "get_object", bucket, at, expires, Key=key, ResponseContentDisposition=disposition
    )


@settings(max_examples=100, deadline=None)
@given(
    key=keys,
    bucket=plain_buckets,
    at=moments,
    expires=lives,
    size=st.integers(0, 10**12),
    content_type=st.sampled_from(["image/jpeg", "image/webp", "text/plain; charset=utf-8"]),
)
def test_an_upload_of_this_length_and_type_is_the_clients(
    key: str, bucket: Bucket, at: int, expires: int, size: int, content_type: str
) -> None:
    ours = presign(
        "PUT",
        key,
        bucket=bucket,
        credentials=CREDENTIALS,
        at=at,
        expires=expires,
        headers={"Content-Type": content_type, "Content-Length": str(size)},
    )
    assert ours == client_presign(
        "put_object",
        bucket,
        at,
        expires,
        Key=key,
        ContentType=content_type,
        ContentLength=size,
    )


@settings(max_examples=100, deadline=None)
@given(
    key=keys,
    bucket=plain_buckets,
    at=moments,
    expires=lives,
    number=st.integers(1, 10_000),
    upload_id=text.filter(bool),
)
def test_a_part_is_the_clients(
    key: str, bucket: Bucket, at: int, expires: int, number: int, upload_id: str
) -> None:
    ours = presign(
        "PUT",
        key,
        bucket=bucket,
        credentials=CREDENTIALS,
        at=at,
        expires=expires,
        headers={"Content-Length": "8388608"},
        query={"uploadId": upload_id, "partNumber": str(number)},
    )
    assert ours == client_presign(
        "upload_part",
        bucket,
        at,
        expires,
        Key=key,
        UploadId=upload_id,
        PartNumber=number,
        ContentLength=8_388_608,
    )


@settings(max_examples=30, deadline=None)
@given(keys=st.lists(keys, max_size=3), days=st.lists(st.integers(0, 3), min_size=1))
def test_a_signer_goes_from_day_to_day_and_back(keys: list[str], days: list[int]) -> None:
    signer = Signer("GET", bucket=BUCKET, credentials=CREDENTIALS, expires=60)
    for day in days:
        for key in keys:
            at = NOON + 86_400 * day
            alone = presign("GET", key, bucket=BUCKET, credentials=CREDENTIALS, at=at, expires=60)
            assert signer.url(key, at=at) == alone


@pytest.mark.parametrize("expires", [-1, 0, 604_801])
def test_a_life_that_stores_refuse_is_refused(expires: int) -> None:
    with pytest.raises(ValueError, match="1 to 604800 seconds"):
        presign("GET", "k", bucket=BUCKET, credentials=CREDENTIALS, at=NOON, expires=expires)


def test_the_secret_is_not_shown() -> None:
    assert SECRET not in repr(CREDENTIALS)
    assert SECRET not in str(CREDENTIALS)


def link(key: str, now: int, window: int = WINDOW) -> str:
    return presign(
        "GET",
        key,
        bucket=BUCKET,
        credentials=CREDENTIALS,
        at=window_start(key, now, window),
        expires=2 * window,
    )


windows = st.integers(1, 302_400)


@settings(deadline=None)
@given(key=keys, now=moments, window=windows, millionths=st.integers(0, 999_999))
def test_a_url_is_the_same_throughout_its_window(
    key: str, now: int, window: int, millionths: int
) -> None:
    start = window_start(key, now, window)
    later = start + window * millionths // 1_000_000
    assert start <= now < start + window
    assert window_start(key, start, window) == start
    assert link(key, later, window) == link(key, now, window)
    assert link(key, start + window, window) != link(key, now, window)


def test_keys_roll_at_moments_of_their_own() -> None:
    starts = {window_start(f"images/{number}/320.webp", NOON, WINDOW) for number in range(1000)}
    assert len(starts) > 800
    assert max(starts) - min(starts) > 0.9 * WINDOW


def test_windows_are_the_same_in_every_process() -> None:
    start = datetime(2026, 11, 21, 11, 18, 28, tzinfo=UTC)
    assert window_start("images/1/320.webp", NOON, WINDOW) == start.timestamp()


@pytest.mark.parametrize("window", [0, -1, 302_401])
def test_a_window_whose_urls_could_not_live_is_refused(window: int) -> None:
    with pytest.raises(ValueError, match="1 to 302400 seconds"):
        window_start("k", NOON, window)
