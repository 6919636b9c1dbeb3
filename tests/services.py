"""A pytest plugin (`-p tests.services`): the real servers that the tests run on.

Postgres and rclone are started as `make run` does it, in a temporary folder, before pytest-django
reads the settings, which find them in the environment. MinIO is started when a test asks for it.

TEST_REQUIRE=chromium,minio makes it an error that one of these is missing. Else the tests that need
it are skipped, and the last lines say so.
"""

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from string import Template

import httpx2
import pytest
from minio.credentials.providers import StaticProvider

from minio import Minio, MinioAdmin
from project.embedded import Bucket, Child, Postgres
from project.embedded.addresses import free_port, netloc, url

HOST = "127.0.0.1"
BUCKET_NAME = "shoebox"
OPTIONAL = ("chromium", "minio")


@dataclass(frozen=True)
class Store:
    """An S3 server that has our bucket, and the two identities of the app there."""

    endpoint_url: str
    credentials: tuple[str, str]
    upload_credentials: tuple[str, str]
    bucket_name: str = BUCKET_NAME
    root_credentials: tuple[str, str] = ("", "")


FOLDER = pytest.StashKey[Path]()


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Iterator[None]:
    folder = Path(tempfile.mkdtemp(prefix="shoebox-"))
    early_config.add_cleanup(partial(shutil.rmtree, folder, ignore_errors=True))
    early_config.stash[FOLDER] = folder
    pages_port = free_port(HOST)
    pages = url("localhost", pages_port)
    identity = credentials()
    postgres = Postgres(
        folder / "postgres", sockets=folder / "run", log=folder / "postgres.log", durable=False
    )
    bucket = Bucket(
        folder / "bucket",
        name=BUCKET_NAME,
        host=HOST,
        port=free_port(HOST),
        credentials=identity,
        origin=pages,
        log=folder / "bucket.log",
    )
    for child in (postgres, bucket):
        early_config.add_cleanup(child.stop)
        child.start()
    os.environ |= {
        "DATA": str(folder / "data"),
        "DATABASE_URL": postgres.url,
        "PUBLIC_URL": pages,
        "DJANGO_LIVE_TEST_SERVER_ADDRESS": f"localhost:{pages_port}",
        "SECRET_KEY": secrets.token_hex(32),
        **settings_of(Store(bucket.url, identity, identity)),
    }
    return (yield)


def credentials() -> tuple[str, str]:
    return secrets.token_hex(8), secrets.token_hex(16)


def settings_of(store: Store) -> dict[str, str]:
    key_id, key = store.credentials
    upload_key_id, upload_key = store.upload_credentials
    return {
        "S3_ENDPOINT_URL": store.endpoint_url,
        "S3_PUBLIC_ENDPOINT_URL": store.endpoint_url,
        "S3_BUCKET": store.bucket_name,
        "S3_ACCESS_KEY_ID": key_id,
        "S3_SECRET_ACCESS_KEY": key,
        "S3_UPLOAD_ACCESS_KEY_ID": upload_key_id,
        "S3_UPLOAD_SECRET_ACCESS_KEY": upload_key,
    }


# --- what may be missing --------------------------------------------------------------------------


def _missing() -> list[str]:
    return [name for name in OPTIONAL if shutil.which(name) is None]


def pytest_configure() -> None:
    required = filter(None, os.environ.get("TEST_REQUIRE", "").split(","))
    for name in required:
        if name not in OPTIONAL or name in _missing():
            raise pytest.UsageError(f"TEST_REQUIRE asks for {name}, which was not found.")


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for name in _missing():
        terminalreporter.write_line(f"Not run: the tests that need {name}, which was not found.")


def _program(name: str) -> str:
    return shutil.which(name) or pytest.skip(f"{name} was not found")


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the browser."""
    return _program("chromium")


# --- the stores -----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def rclone() -> Store:
    """The server that the settings know."""
    credentials = os.environ["S3_ACCESS_KEY_ID"], os.environ["S3_SECRET_ACCESS_KEY"]
    return Store(os.environ["S3_ENDPOINT_URL"], credentials, credentials)


@pytest.fixture(scope="session")
def minio(pytestconfig: pytest.Config) -> Iterator[Store]:
    """MinIO with the identities and policies of the compose file."""
    _program("minio")
    folder, root = pytestconfig.stash[FOLDER], credentials()
    server, address = minio_server(folder, root, origin=os.environ["PUBLIC_URL"])
    server.start()
    yield prepared_minio(server, address, root)
    server.stop()


def minio_server(folder: Path, root: tuple[str, str], *, origin: str) -> tuple[Child, str]:
    """Not started yet, and where it will listen."""
    address = netloc(HOST, free_port(HOST))
    server = Child(
        "MinIO",
        ["minio", "server", "--address", address, folder / "minio"],
        environment={
            "HOME": str(folder),
            "PATH": os.environ["PATH"],
            "MINIO_ROOT_USER": root[0],
            "MINIO_ROOT_PASSWORD": root[1],
            "MINIO_API_CORS_ALLOW_ORIGIN": origin,
            "MINIO_BROWSER": "off",
        },
        log=folder / "minio.log",
    )
    return server, address


def _is_ready(address: str) -> bool:
    """Not at once when the port is open: whoever asks too early is told to come back in a minute."""
    try:
        return httpx2.get(f"{address}/minio/health/ready").is_success
    except httpx2.TransportError:
        return False


def prepared_minio(server: Child, address: str, root: tuple[str, str]) -> Store:
    """With a bucket, and our two identities."""
    server.wait_until(lambda: _is_ready(f"http://{address}"))
    Minio(address, *root, secure=False).make_bucket(BUCKET_NAME)
    admin = MinioAdmin(endpoint=address, credentials=StaticProvider(*root), secure=False)
    identities = {}
    for policy in ("app", "upload"):
        template = Template(Path("minio", f"{policy}.json").read_text())
        admin.policy_add(policy, policy=json.loads(template.substitute(S3_BUCKET=BUCKET_NAME)))
        identities[policy] = credentials()
        admin.user_add(*identities[policy])
        admin.attach_policy([policy], user=identities[policy][0])
    return Store(
        f"http://{address}",
        identities["app"],
        identities["upload"],
        root_credentials=root,
    )


@pytest.fixture(scope="session")
def moto() -> Iterator[Store]:
    """It believes every signature."""
    from moto.server import ThreadedMotoServer  # takes a second to load

    port = free_port(HOST)
    server = ThreadedMotoServer(HOST, port, verbose=False)
    server.start()
    Minio(netloc(HOST, port), "key", "secret", secure=False).make_bucket(BUCKET_NAME)
    yield Store(url(HOST, port), ("key", "secret"), ("other", "secret"))
    server.stop()


@pytest.fixture(scope="session", params=["rclone", "minio"])
def store(request: pytest.FixtureRequest) -> Store:
    """Each store in turn: for what must hold on all of them."""
    found: Store = request.getfixturevalue(request.param)
    return found
