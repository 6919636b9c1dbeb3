"""What a worker takes at its most for a picture of 100 megapixels, beside thumbor: MiB.

Ours is a worker as it is started, with Django and the queue loaded, its cage's server and the child that decodes;
thumbor's is its server, asked for the same four sides. Shared pages are divided among their users (PSS), and what is
reported is the largest sum that was seen, looking every few milliseconds.
"""

import multiprocessing
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import django
import httpx2
from PIL import Image

from bench.ladder import LIMITS, MEMORY, QUALITY
from bench.peers import thumbor
from bench.photograph import photograph
from bench.startup import weight_of
from bench.table import Row, note, report
from bench.world import PICTURES as PICTURES_TABLE
from bench.world import authorization, world
from media_api.exceptions import Empty
from media_api.sandbox import examine
from media_api.sides import SIDES
from project.embedded import Child
from tests.serving import descendants

WIDTH, HEIGHT = 11648, 8736  # what cameras of 100 megapixels make
TILE = 2912
SMALL, LARGE = 1_000_000, 100_000_000  # bytes
PICTURES: dict[str, tuple[dict[str, Any], int]] = {  # how to save it, and the bar in MB
    "JPEG": ({"quality": 90}, 150),
    "PNG": ({"compress_level": 1}, 700),
    "WEBP": ({"quality": 85, "method": 0}, 700),
}
DEPLOYED = {
    "DJANGO_SETTINGS_MODULE": "project.settings",
    "DATABASE_URL": "postgres://bench@db/bench",
    "S3_ENDPOINT_URL": "http://127.0.0.1:9000",
    "S3_ACCESS_KEY_ID": "bench",
    "S3_SECRET_ACCESS_KEY": "not-a-secret-of-anybody",
    "S3_UPLOAD_ACCESS_KEY_ID": "bench-upload",
    "S3_UPLOAD_SECRET_ACCESS_KEY": "not-a-secret-of-anybody",
    "SECRET_KEY": "not-a-secret-of-anybody-for-a-process-that-serves-nobody",
    "PUBLIC_URL": "http://localhost",
}


def rows() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for format, (options, bar) in PICTURES.items():
            note(f"100 megapixels of {format}")
            path = folder / f"large.{format.lower()}"
            large().save(path, format, **options)
            ours = worker_peak(path)
            work = f"a worker's peak, {format} of 100 MP"
            yield Row(6, work, "", f"{ours} MiB", f"<= {bar} MB", ours * 1.048576 <= bar)
            yield Row(6, "", "thumbor 7.8", thumbor_peak(path))
    yield web()


def web() -> Row:
    """What a web process takes more while it receives a file of 100 MB, which is no picture."""
    with tempfile.TemporaryDirectory() as name, world(Path(name)) as found:
        found.manage("prepare_bucket")
        with found.rows() as cursor:
            cursor.execute(PICTURES_TABLE)
        key = authorization(found)
        with found.shoebox() as address:
            ours = growth(found.servers[-1], f"{address}/api/v1/images?wait=0", key)
        with found.obvious() as address:
            theirs = growth(found.servers[-1], f"{address}/pictures/", key)
    work = "web, more during an upload of 100 MB"
    return Row(6, work, f"the obvious: {theirs} MiB", f"{ours} MiB", "<= 32 MiB", ours <= 32)


def growth(server: Child, address: str, key: Mapping[str, str]) -> int:
    """MiB, of an upload after the first, which loads whatever is loaded late."""
    assert server.process
    pid = server.process.pid
    for size in (SMALL, LARGE):
        before = weight_of(descendants(pid))
        with tempfile.TemporaryFile() as file, watching(pid) as peak:
            file.truncate(size)
            file.seek(0)
            answer = httpx2.post(
                address, files={"file": ("cat.jpg", file, "image/jpeg")}, headers=key, timeout=60
            )
            assert answer.is_success, answer.text
    return peak() - before


def large() -> Image.Image:
    """Without grain: a PNG with it would be larger than what is taken."""
    tile = photograph(TILE, TILE, grain=0)
    picture = Image.new("RGB", (WIDTH, HEIGHT))
    for left in range(0, WIDTH, TILE):
        for top in range(0, HEIGHT, TILE):
            picture.paste(tile, (left, top))
    return picture


def worker_peak(path: Path) -> int:
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    worker = context.Process(target=work, args=(path, started))
    worker.start()
    assert worker.pid
    started.wait(timeout=60)
    with watching(worker.pid) as peak:
        worker.join()
    if worker.exitcode:
        raise ChildProcessError(worker.exitcode)
    return peak()


def work(path: Path, started: Event) -> None:
    """Its cage's server is started before anybody looks: until it is, it would count as a second worker."""
    os.environ |= DEPLOYED
    django.setup()
    import_module("media_api.tasks")
    with tempfile.TemporaryFile() as nothing, suppress(Empty):
        examine(nothing, limits=LIMITS, timeout=30, memory=MEMORY)
    started.set()
    with path.open("rb") as file:
        examine(file, limits=LIMITS, timeout=30, memory=MEMORY)


def thumbor_peak(path: Path) -> str:
    with (
        thumbor.serving(path.parent, processes=1) as server,
        watching(server.process.pid) as peak,
    ):
        try:
            for side in SIDES:
                server.rendition(path.name, side, quality=QUALITY)
        except HTTPError as error:
            return f"cannot: answers {error.code}"
    return f"{peak()} MiB"


@contextmanager
def watching(pid: int) -> Iterator[Callable[[], int]]:
    """The largest PSS of a process with all its descendants, in MiB, while the body runs."""
    ended = threading.Event()
    seen = [0]

    def watch() -> None:
        while not ended.wait(0.005):
            seen.append(weight_of(descendants(pid)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lambda: max(seen)
    finally:
        ended.set()
        watcher.join()


if __name__ == "__main__":
    report(rows())
