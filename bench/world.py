"""A Postgres, a bucket and web servers, for measurements that need a running service but not its worker."""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

import psycopg

from project import embedded
from project.embedded import Bucket, Child, Postgres
from project.embedded.addresses import free_port, url
from tests.serving import embedded_environment

HOST = "127.0.0.1"
UNLIMITED = "1000000/second"  # throttles count as ever, and refuse nobody


class World:
    """Two servers whose data lie in `folder` as those of `make run` do, and what leads to them."""

    def __init__(self, folder: Path) -> None:
        port = free_port(HOST)
        self.log = folder / "servers.log"
        self.chosen = embedded.configure(folder, host=HOST, port=port, public_host="")
        self.postgres = Postgres(
            folder / "postgres", sockets=folder / "run", log=folder / "postgres.log", durable=False
        )
        self.bucket = Bucket(
            folder / "bucket",
            name="shoebox",
            host=HOST,
            port=urlsplit(self.chosen["S3_ENDPOINT_URL"]).port or 80,
            credentials=(self.chosen["S3_ACCESS_KEY_ID"], self.chosen["S3_SECRET_ACCESS_KEY"]),
            origin=self.chosen["PUBLIC_URL"],
            log=folder / "bucket.log",
        )
        self.environment = embedded_environment(
            DATA=str(folder),
            PORT=str(port),
            THROTTLE_LIST=UNLIMITED,
            THROTTLE_LINKS=UNLIMITED,
            THROTTLE_ANNOUNCE=UNLIMITED,
        )

    def manage(self, *arguments: str) -> str:
        """What a command says."""
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.run(
            command, env=self.environment, check=True, stdout=subprocess.PIPE, text=True
        ).stdout.strip()

    @contextmanager
    def rows(self) -> Iterator[psycopg.Cursor]:
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            yield connection.cursor()

    @contextmanager
    def serving(
        self,
        application: str,
        *,
        probe: str,
        workers: int = 1,
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> Iterator[str]:
        """A WSGI application on granian, as `make run` starts it; its address."""
        port = free_port(HOST)
        command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--http", "1"]
        command += ["--host", HOST, "--port", str(port), "--workers", str(workers)]
        command += ["--blocking-threads", "8", "--log-level", "error", application]
        with self.running(command, port, probe=probe, variables=variables) as address:
            yield address

    @contextmanager
    def running(
        self, command: Sequence[str], port: int, *, probe: str, variables: Mapping[str, str]
    ) -> Iterator[str]:
        server = Child(
            "A server", command, environment={**self.environment, **variables}, log=self.log
        )
        server.start()
        try:
            server.wait_until(lambda: _answers(port, probe))
            yield url(HOST, port)
        finally:
            server.stop()


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """With the tables of the service, and the account `bench`."""
    found = World(folder)
    with ExitStack() as stack:
        for server in found.postgres, found.bucket:
            stack.callback(server.stop)
            server.start()
        found.manage("migrate", "--verbosity", "0")
        found.manage("user", "bench")
        yield found


def authorization(found: World) -> Mapping[str, str]:
    key = found.manage("apikey", "create", "bench", "--scope", "read", "--scope", "write")
    return {"Authorization": f"Bearer {key}"}


def _answers(port: int, path: str) -> bool:
    connection = HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


# --- many images ----------------------------------------------------------------------------------

# As they are after an upload. Nothing that a list shows is left out; their objects are not in the bucket.
IMAGES = """
INSERT INTO media_api_image (
    id, owner_id, name, tags, path, stripped_path, size, date, content_type, width, height, frames, sha256, sides,
    placeholder, derived, version
)
SELECT
    made.id, owner.id, name, tags, path, path, size, date,
    content_type, 4032, 3024, 1, sha256, '{320,640,1280,2560}', placeholder, '{}', 1
FROM auth_user AS owner, generate_series(%(first)s::bigint, %(last)s) AS number,
LATERAL (
    SELECT
        ('0198c9a4-7d2e-7000-8000-' || lpad(to_hex(number), 12, '0'))::uuid AS id,
        'images/0198c9a4-7d2e-7000-8000-' || lpad(to_hex(number), 12, '0') || '/original.jpg' AS path,
        timestamptz '2026-01-01Z' + number * interval '1 second' AS date,
        encode(sha256(number::text::bytea), 'hex') AS sha256
) AS made,
LATERAL (
    SELECT
        words[1 + number * 7919 %% 1000] || '-' || number || '.jpg' AS name,
        ARRAY[words[1 + number * 104729 %% 1000], 'tag' || floor(sqrt(number * 7919 %% 10000))] AS tags,
        100000 + number * 7919 %% 8000000 AS size,
        (ARRAY['image/jpeg', 'image/jpeg', 'image/jpeg', 'image/png', 'image/webp'])[1 + number %% 5] AS content_type,
        'data:image/webp;base64,' || repeat('UklGRg', 20) AS placeholder
    FROM (SELECT array_agg('word' || to_hex(word * 40503 %% 65536)) AS words FROM generate_series(1, 1000) AS word) AS w
) AS labels
WHERE owner.username = 'bench'
"""
PICTURES = """
CREATE TABLE obvious_picture (
    id bigint PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY,
    name varchar(255) NOT NULL, file varchar(255) NOT NULL, size bigint NOT NULL, date timestamptz NOT NULL
);
INSERT INTO obvious_picture (name, file, size, date) SELECT name, path, size, date FROM media_api_image ORDER BY date;
CREATE INDEX obvious_date ON obvious_picture (date);
"""


def fill(found: World, count: int) -> None:
    """So many images, and the same rows for the obvious service."""
    with found.rows() as cursor:
        cursor.execute(IMAGES, {"first": 1, "last": count})
        cursor.execute(PICTURES)
        cursor.execute("VACUUM ANALYZE")
