"""A Postgres, a bucket and web servers, for measurements that need a running service but not its worker."""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from project import embedded
from project.embedded import Bucket, Child, Postgres
from project.embedded.addresses import free_port, url
from tests import many
from tests.serving import embedded_environment

HOST = "127.0.0.1"
UNLIMITED = "1000000/second"  # throttles count as ever, and refuse nobody


class World:
    """Two servers whose data lie in `folder` as those of `make run` do, and what leads to them."""

    def __init__(self, folder: Path) -> None:
        port = free_port(HOST)
        self.log = folder / "servers.log"
        self.servers: list[Child] = []
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

    def is_filled(self) -> bool:
        """Whether `fill` was here, and came to its end."""
        with self.rows() as cursor:
            cursor.execute("SELECT to_regclass('obvious_date')")
            return cursor.fetchone() != (None,)

    @contextmanager
    def shoebox(self, *, workers: int = 1) -> Iterator[str]:
        """Our web server, as `make run` starts it; its address."""
        port = free_port(HOST)
        variables = {"HOST": HOST, "PORT": str(port), "WEB_WORKERS": str(workers)}
        command = [sys.executable, "manage.py", "granian"]
        with self.running(command, port, probe="/livez", variables=variables) as address:
            yield address

    @contextmanager
    def obvious(self, *, workers: int = 1) -> Iterator[str]:
        """The obvious service on the same server program, with as many threads; its address."""
        port = free_port(HOST)
        command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--http", "1"]
        command += ["--host", HOST, "--port", str(port), "--workers", str(workers)]
        command += ["--blocking-threads", "8", "--log-level", "error"]
        command += ["bench.peers.obvious:application"]
        probe = "/pictures/?limit=1"
        with self.running(command, port, probe=probe, variables=self.chosen) as address:
            yield address

    @contextmanager
    def running(
        self, command: Sequence[str], port: int, *, probe: str, variables: Mapping[str, str]
    ) -> Iterator[str]:
        server = Child(
            "A server", command, environment={**self.environment, **variables}, log=self.log
        )
        self.servers.append(server)
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

PICTURES = """
CREATE TABLE obvious_picture (
    id bigint PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY,
    name varchar(255) NOT NULL, file varchar(255) NOT NULL, size bigint NOT NULL, date timestamptz NOT NULL
);
INSERT INTO obvious_picture (name, file, size, date) SELECT name, path, size, date FROM media_api_image ORDER BY date;
CREATE INDEX obvious_date ON obvious_picture (date);
"""


def fill(found: World, count: int) -> None:
    """So many images, whose objects are not in the bucket, and the same rows for the obvious service."""
    with found.rows() as cursor:
        cursor.execute("SELECT id FROM auth_user WHERE username = 'bench'")
        (owner,) = cursor.fetchone() or (0,)
        many.fill(cursor, count, owner=owner)
        cursor.execute(PICTURES)
        cursor.execute("VACUUM ANALYZE obvious_picture")
