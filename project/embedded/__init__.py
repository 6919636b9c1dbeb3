"""Postgres and an S3 server from pip wheels, for whoever has no Docker: what `make run` starts.

Everything lies in one folder, DATA:

    lock               held with flock(2) by the one `serve` that may run here
    environment.json   the variables that lead to the services, secrets included (mode 0600)
    postgres/          the database; it listens on a socket in run/, never on a port
    bucket/            the root of the S3 server: each folder in it is a bucket
    log/               what both say

`serve` writes environment.json before it starts anything. The settings read it, so that every
command finds the same services, and nothing else in Shoebox knows what they run on.
"""

import fcntl
import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from project.embedded.addresses import free_port, reachable, refusal, url
from project.embedded.bucket import Bucket
from project.embedded.children import Child, NotStarted
from project.embedded.postgres import Postgres, database_url, socket_fits

__all__ = [
    "AlreadyRunning",
    "Bucket",
    "Child",
    "NotStarted",
    "Postgres",
    "configure",
    "environment",
    "is_running",
    "lock",
]

BUCKET_PORT = 9000


class AlreadyRunning(Exception):
    """Another `serve` holds the lock of this folder."""


@contextmanager
def lock(data: Path) -> Iterator[None]:
    """Hold `data` alone; the kernel lets go of it however the holder ends."""
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (data / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning from None
        yield


def is_running(data: Path) -> bool:
    if not (data / "lock").exists():
        return False
    try:
        with lock(data):
            return False
    except AlreadyRunning:
        return True


def environment(data: Path) -> dict[str, str]:
    """The variables of the services in `data`; before their first start, where the database will be."""
    try:
        remembered: dict[str, str] = json.loads((data / "environment.json").read_text())
    except FileNotFoundError:
        return {"DATABASE_URL": database_url(data / "run")}
    return remembered


def configure(data: Path, *, host: str, port: int, public_host: str) -> dict[str, str]:
    """Make the secrets at the first start, choose the addresses of this one, write both down.

    Only whoever holds the lock may do this.
    """
    known = environment(data)
    bucket_port = urlsplit(known.get("S3_ENDPOINT_URL", "")).port or BUCKET_PORT
    if refusal(host, bucket_port):
        bucket_port = free_port(host)
    endpoint = url(reachable(host), bucket_port)
    key_id = known.get("S3_ACCESS_KEY_ID") or secrets.token_hex(10)
    key = known.get("S3_SECRET_ACCESS_KEY") or secrets.token_hex(20)
    chosen = {
        "PUBLIC_URL": url(public_host or "localhost", port),
        "DATABASE_URL": database_url(_socket_folder(data)),
        "S3_ENDPOINT_URL": endpoint,
        "S3_PUBLIC_ENDPOINT_URL": url(public_host, bucket_port) if public_host else endpoint,
        "S3_ACCESS_KEY_ID": key_id,
        "S3_SECRET_ACCESS_KEY": key,
        "S3_UPLOAD_ACCESS_KEY_ID": key_id,  # rclone grants all or nothing: one pair does everything
        "S3_UPLOAD_SECRET_ACCESS_KEY": key,
        "SECRET_KEY": known.get("SECRET_KEY") or secrets.token_hex(32),
    }
    _write_private(data / "environment.json", json.dumps(chosen, indent=2))
    return chosen


def _socket_folder(data: Path) -> Path:
    """DATA/run, or a private folder with a short name where that cannot hold a socket."""
    folder = data / "run"
    return folder if socket_fits(folder) else Path(tempfile.mkdtemp(prefix="shoebox-"))


def _write_private(path: Path, text: str) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent)  # of mode 0600
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    Path(name).rename(path)
