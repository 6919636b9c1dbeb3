"""What one presigned GET URL costs: our signer beside botocore and minio-py, in microseconds."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import perf_counter

import boto3
from botocore.config import Config

from media_api.presign import Bucket, Credentials, presign, window_start
from minio import Minio

HOST = "127.0.0.1:9000"
NAME, REGION = "shoebox", "us-east-1"
ACCESS, SECRET = "bench", "not-a-secret-of-anybody"
WINDOW = 3600
KEYS = [f"images/0198c9a4-7d2e-7000-8000-{number:012x}/320.webp" for number in range(1000)]


def ours() -> Callable[[str], str]:
    bucket = Bucket(f"http://{HOST}", NAME, REGION)
    credentials = Credentials(ACCESS, SECRET)

    def sign(key: str) -> str:
        at = window_start(key, datetime.now(UTC), WINDOW)
        return presign(
            "GET", key, bucket=bucket, credentials=credentials, at=at, expires=2 * WINDOW
        )

    return sign


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


def microseconds(sign: Callable[[str], str], *, rounds: int = 5) -> float:
    """The best of some rounds: what is left is the work and not the neighbours."""
    best = float("inf")
    for _ in range(rounds):
        start = perf_counter()
        for key in KEYS:
            sign(key)
        best = min(best, perf_counter() - start)
    return best / len(KEYS) * 1e6


def main() -> None:
    own = microseconds(ours())
    print(f"{'signer':<10}{'us per URL':>12}{'ratio':>8}")
    print(f"{'ours':<10}{own:>12.1f}{1:>8.1f}")
    for name, peer in (("minio-py", minios()), ("botocore", botocores())):
        cost = microseconds(peer)
        print(f"{name:<10}{cost:>12.1f}{cost / own:>8.1f}")


if __name__ == "__main__":
    main()
