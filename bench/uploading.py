"""Pictures of 0.8 MB sent by four clients: how many are accepted in a second, through the app and directly.

Accepted is what has its 202: the bytes are in the bucket and its job is in the queue. Nobody works on that meanwhile,
as the worker would take its share of the cores; the last line has what is accepted while it does. The store is rclone,
and each service has two processes.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

import django
import httpx2

from bench.table import Row, in_turns, report
from bench.world import PICTURES, World, authorization, world
from project.embedded import Child
from tests import pictures

SIZE = 800_000
COUNT = 60
CLIENTS = 4
TYPE = "image/jpeg"
APP, DIRECT = 1.5, 0.6
STARTED = 5  # seconds after which a worker is at work

Send = Callable[[httpx2.Client], None]


def rows() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder, world(Path(folder)) as found:
        found.manage("prepare_bucket")
        with found.rows() as cursor:
            cursor.execute(PICTURES)
        with found.shoebox(workers=2) as ours, found.obvious(workers=2) as theirs:
            doors = Doors(ours, theirs, authorization(found), found)
            yield from accepted(doors)
            yield beside_the_worker(found, doors)


def accepted(doors: "Doors") -> Iterator[Row]:
    ratio, own, others = in_turns(lambda: seconds(doors.app), lambda: seconds(doors.obvious))
    beside = f"the obvious: {1 / own:.0f} to {1 / others:.0f} a second"
    work = f"{SIZE / 1e6} MB through the app, {CLIENTS} clients"
    yield Row(7, work, beside, str(ratio), f">= {APP} x", ratio.median >= APP)
    ratio, own, others = in_turns(lambda: seconds(doors.direct), lambda: seconds(doors.raw))
    beside = f"raw presigned PUT: {1 / own:.0f} to {1 / others:.0f}"
    yield Row(7, "  directly", beside, str(ratio), f">= {DIRECT} x", ratio.median >= DIRECT)


def beside_the_worker(found: World, doors: "Doors") -> Row:
    """Which has much to do, after all that was sent."""
    alone = seconds(doors.app)
    command = [sys.executable, "manage.py", "procrastinate", "worker"]
    worker = Child("A worker", command, environment=found.environment, log=found.log)
    worker.start()
    try:
        time.sleep(STARTED)
        beside = seconds(doors.app)
    finally:
        worker.stop()
    work = "  through the app, while the worker examines"
    return Row(7, work, f"alone: {1 / alone:.0f} a second", f"{1 / beside:.0f} a second")


def seconds(send: Send) -> float:
    """For one, when all clients send as many as they can."""

    def run(_: int) -> None:
        with httpx2.Client(timeout=60) as client:
            for _ in range(COUNT // CLIENTS):
                send(client)

    start = perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(run, range(CLIENTS)))
    return (perf_counter() - start) / COUNT


class Doors:
    """The ways into the bucket. Each sends one picture."""

    def __init__(self, ours: str, theirs: str, key: Mapping[str, str], found: World) -> None:
        os.environ.update(
            found.environment, DJANGO_SETTINGS_MODULE="project.settings", LOG_LEVEL="ERROR"
        )
        django.setup()
        self.ours, self.theirs, self.key = f"{ours}/api/v1", theirs, key
        self.body = pictures.jpeg(3000, 2000, quality=95).ljust(SIZE, b"\0")

    def app(self, client: httpx2.Client) -> None:
        address, file = f"{self.ours}/images?wait=0", ("cat.jpg", self.body, TYPE)
        answer = client.post(address, files={"file": file}, headers=self.key)
        assert answer.status_code == 202, answer.text

    def obvious(self, client: httpx2.Client) -> None:
        file = ("cat.jpg", self.body, TYPE)
        answer = client.post(f"{self.theirs}/pictures/", files={"file": file})
        assert answer.status_code == 201, answer.text

    def direct(self, client: httpx2.Client) -> None:
        announcement = {"name": "cat.jpg", "size": SIZE, "content_type": TYPE}
        answer = client.post(f"{self.ours}/uploads", json=announcement, headers=self.key)
        upload = answer.json()
        put(client, upload["url"], self.body)
        address = f"{self.ours}/uploads/{upload['id']}/complete?wait=0"
        answer = client.post(address, headers=self.key)
        assert answer.status_code == 202, answer.text

    def raw(self, client: httpx2.Client) -> None:
        """To an address that costs us a few microseconds."""
        from media_api.models import staging_key, uuid7
        from media_api.storage import image_storage

        key = staging_key(uuid7())
        address = image_storage().presign_put(key, size=SIZE, content_type=TYPE, lifetime=600)
        put(client, address, self.body)


def put(client: httpx2.Client, address: str, body: bytes) -> None:
    client.put(address, content=body, headers={"Content-Type": TYPE}).raise_for_status()


if __name__ == "__main__":
    report(rows())
