"""The service as it is deployed, each part a process: `python -m tests.chaos.deployment FOLDER STORE PORT WORKERS`.

Postgres, the store, a web server and two workers. What ends is started again, as a supervisor would. In FOLDER the
harness finds all that clients, and an operator, would know.
"""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import urlsplit

import httpx2
import psycopg
from minio.error import MinioException
from urllib3 import PoolManager
from urllib3.exceptions import HTTPError

from media_api.faults import TEST_RUN
from minio import Minio
from project.embedded import Bucket, Child, NotStarted, Postgres
from project.embedded.addresses import free_port, url
from tests.faulty import Faulty
from tests.services import (
    BUCKET_NAME,
    HOST,
    Store,
    credentials,
    minio_server,
    prepared_minio,
    settings_of,
)
from tests.serving import command_line, descendants, embedded_environment, wait_until

OWNERS = ("ann", "ben", "cleo")
WORKERS = 2
START = 180  # seconds
UPLOAD_LIFETIME = 20  # seconds; an upload that is given up shall expire while we look
PART_THRESHOLD, PART_SIZE = 6 * 1024 * 1024, 5 * 1024 * 1024  # the smallest part that S3 takes


@dataclass(frozen=True)
class Addresses:
    """What is written down for the harness; all of it is secret."""

    api: str
    database: str
    store: Store
    keys: dict[str, str]  # of the owners
    environment: dict[str, str]

    @classmethod
    def read(cls, folder: Path) -> "Addresses":
        told = json.loads((folder / "addresses.json").read_text())
        return cls(**told | {"store": Store(**told["store"])})

    def write(self, folder: Path) -> None:
        (folder / "new.json").write_text(json.dumps(asdict(self)))
        (folder / "new.json").rename(folder / "addresses.json")


class Deployment:
    """The running service, as the harness sees it."""

    def __init__(self, folder: Path, store: str, *, workers: int = WORKERS) -> None:
        self.folder, self.workers = folder, workers
        self.plans = folder / "plans"
        self.plans.mkdir(parents=True)
        (self.plans / TEST_RUN).touch()
        self.log = folder / "service.log"
        self.connections = PoolManager(timeout=10, retries=False)
        port = free_port(HOST)  # of the way to the bucket, which we can disturb
        self.child = Child(
            "The deployment",
            [sys.executable, "-m", __name__, str(folder), store, str(port), str(workers)],
            environment=unmeasured(DJANGO_SETTINGS_MODULE="project.settings"),
            log=self.log,
        )
        self.child.start()
        wait_until(self._is_begun, seconds=START)
        self.addresses = Addresses.read(folder)
        self.bucket = Faulty(self.addresses.store, port=port)
        wait_until(self.is_ready, seconds=START)

    def _is_begun(self) -> bool:
        assert self.child.exit_code is None, self.log.read_text()
        return (self.folder / "addresses.json").exists()

    def is_ready(self) -> bool:
        """All of it: the web server, its database, its bucket, the workers."""
        try:
            answer = httpx2.get(f"{self.addresses.api}/readyz", timeout=5)
        except httpx2.TransportError:
            return False
        workers = self.pids("procrastinate")
        return (
            answer.status_code == 200
            and answer.json()["bucket"] == "ok"
            and len(workers) >= self.workers
        )

    @property
    def pid(self) -> int:
        assert self.child.process
        return self.child.process.pid

    @property
    def store(self) -> Store:
        """As clients reach it, whatever is between it and the service."""
        return self.addresses.store

    def execute(self, statement: LiteralString, *values: object) -> list[tuple[Any, ...]]:
        """What an operator's psql would answer; asked until the database is there."""
        deadline = time.monotonic() + 60
        while True:
            try:
                with psycopg.connect(self.addresses.database, autocommit=True) as database:
                    cursor = database.execute(statement, values)
                    return cursor.fetchall() if cursor.description else []
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    @cached_property
    def root(self) -> Minio:
        """The bucket as it is, past whatever disturbs the way of the service to it."""
        host = urlsplit(self.store.endpoint_url).netloc
        return Minio(host, *self.store.credentials, secure=False, http_client=self.connections)

    def lose(self, key: str) -> None:
        """An object is gone behind the back of the service, if the store is there to be told."""
        with suppress(OSError, HTTPError, MinioException):
            self.root.remove_object(BUCKET_NAME, key)

    def pids(self, name: str) -> list[int]:
        """The processes of the service with `name` in their command line."""
        family = descendants(self.pid) - {self.pid}
        return sorted(pid for pid in family if name in command_line(pid).replace("\0", " "))

    def command(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """Another command of the service, in its environment and with its log."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "manage.py", *arguments],
                env=unmeasured(**self.addresses.environment),
                stdout=log,
                stderr=log,
            )

    def close(self) -> None:
        for pid in descendants(self.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self.child.patience = 30
        self.child.stop()
        self.bucket.close()
        self.connections.clear()


def unmeasured(**variables: str) -> dict[str, str]:
    """Nothing is measured by coverage here: it would be slow, and other tests go the same ways."""
    return {
        name: value
        for name, value in embedded_environment(**variables).items()
        if not name.startswith("COVERAGE_")
    }


# --- the program ----------------------------------------------------------------------------------


def main(folder: Path, store_name: str, bucket_port: int, count: int) -> None:
    port = free_port(HOST)
    origin = url(HOST, port)
    database = Postgres(folder / "postgres", sockets=folder / "run", log=folder / "postgres.log")
    database.start()
    server, store = started_store(folder, store_name, origin)
    variables = {
        "DATABASE_URL": database.url,
        "HOST": HOST,
        "PORT": str(port),
        "PUBLIC_URL": origin,
        "SECRET_KEY": secrets.token_hex(32),
        "FAULTS": str(folder / "plans"),
        "LOG_FORMAT": "json",
        "UPLOAD_LIFETIME": str(UPLOAD_LIFETIME),
        "PARTS_LIFETIME": str(2 * UPLOAD_LIFETIME),
        "PART_THRESHOLD": str(PART_THRESHOLD),
        "PART_SIZE": str(PART_SIZE),
        **settings_of(store),
        "S3_ENDPOINT_URL": url(HOST, bucket_port),
    }
    os.environ |= variables
    keys = prepared(store)
    from project.management.commands.serve import Web, Worker  # reads the settings

    web, workers = Web(HOST, origin, os.environ), [Worker(os.environ) for _ in range(count)]
    children = [database, server, web, *workers]
    for child in children[2:]:
        child.start()
    Addresses(origin, database.url, store, keys, variables).write(folder)
    supervise(children)


def started_store(folder: Path, name: str, origin: str) -> tuple[Child, Store]:
    if name == "minio":
        root = credentials()
        minio, address = minio_server(folder, root, origin=origin)
        minio.start()
        return minio, prepared_minio(minio, address, root)
    ours, uploads = credentials(), credentials()
    rclone = Bucket(
        folder / "bucket",
        name=BUCKET_NAME,
        host=HOST,
        port=free_port(HOST),
        credentials=ours,
        origin=origin,
        log=folder / "bucket.log",
    )
    two = ",".join('"{},{}"'.format(*identity) for identity in (ours, uploads))
    rclone.environment = {**(rclone.environment or {}), "RCLONE_AUTH_KEY": two}
    rclone.start()
    return rclone, Store(rclone.url, ours, uploads)


def prepared(store: Store) -> dict[str, str]:
    """Tables, the claimed bucket, and a key for each owner. The way to the bucket is not there yet."""
    import django
    from django.core.management import call_command
    from django.db import connections

    django.setup()
    from django.contrib.auth.models import User

    from media_api.epoch import claim_bucket
    from media_api.models import ApiKey
    from media_api.storage import image_storage

    call_command("migrate", verbosity=0)
    image_storage().endpoint_url = store.endpoint_url
    claim_bucket()
    owners = [User.objects.create_user(name) for name in OWNERS]
    keys = {
        owner.username: ApiKey.objects.mint(owner, scopes=["read", "write"])[1] for owner in owners
    }
    connections.close_all()
    return keys


def supervise(children: list[Child]) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while True:
            for child in children:
                if child.exit_code is not None:
                    child.kill()  # what is left of its group
                    with suppress(NotStarted):
                        child.start()
            time.sleep(0.2)
    except KeyboardInterrupt:
        for child in reversed(children):
            child.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
