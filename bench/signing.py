"""What one presigned GET URL costs: our signer beside botocore and minio-py."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from time import perf_counter, time

import boto3
from botocore.config import Config

from bench.table import Row, in_turns, report
from media_api.presign import Bucket, Credentials, Signer, window_start
from minio import Minio

HOST = "127.0.0.1:9000"
NAME, REGION = "shoebox", "us-east-1"
ACCESS, SECRET = "bench", "not-a-secret-of-anybody"
WINDOW = 3600
KEYS = [f"images/0198c9a4-7d2e-7000-8000-{number:012x}/320.webp" for number in range(2000)]


def ours() -> Callable[[str], str]:
    """As `ImageStorage.link` does it: with the arithmetic of the window."""
    signer = Signer(
        "GET",
        bucket=Bucket(f"http://{HOST}", NAME, REGION),
        credentials=Credentials(ACCESS, SECRET),
        expires=2 * WINDOW,
    )
    return lambda key: signer.url(key, at=window_start(key, int(time()), WINDOW))


def botocores() -> Callable[[str], str]:
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{HOST}",
        region_name=REGION,
        aws_access_key_id=ACCESS,
        aws_secret_access_key=SECRET,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    return lambda key: client.generate_presigned_url(
        "get_object", Params={"Bucket": NAME, "Key": key}, ExpiresIn=2 * WINDOW
    )


def minios() -> Callable[[str], str]:
    client = Minio(HOST, access_key=ACCESS, secret_key=SECRET, region=REGION, secure=False)
    return lambda key: client.presigned_get_object(NAME, key, expires=timedelta(seconds=2 * WINDOW))


def microseconds(sign: Callable[[str], str]) -> float:
    start = perf_counter()
    for key in KEYS:
        sign(key)
    return (perf_counter() - start) / len(KEYS) * 1e6


def rows() -> Iterator[Row]:
    for name, peer, bar in (("boto3", botocores(), 50), ("minio-py", minios(), 8)):
        ratio, own, theirs = in_turns(partial(microseconds, ours()), partial(microseconds, peer))
        beside = f"{name}: {own:.1f} to {theirs:.0f} us"
        yield Row(1, "one presigned URL", beside, str(ratio), f">= {bar} x", ratio.median >= bar)


if __name__ == "__main__":
    report(rows())
