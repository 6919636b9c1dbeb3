"""10,000 images deleted, until their bytes are gone; and what a sweep costs that finds nothing in a million rows."""

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any
from uuid import UUID

from bench.service import client, running
from bench.table import TURNS, Row, in_turns, note, report
from tests.serving import Service

COUNT = 10_000
AT_ONCE = 1000  # ids that a call may have
FEW = 200
ROWS = 250_000  # of each
NAMES = ["original.jpg", "320.webp", "640.webp", "1280.webp", "2560.webp", "image.json"]
OBJECTS = "bucket/shoebox/images"
DELETE = "/images/delete?permanent=true"


def rows() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder, running(Path(folder, "data")) as service:
        yield many_are_deleted(service)
        os.kill(
            service.child("procrastinate"), signal.SIGSTOP
        )  # nothing is done but what is measured
        yield beside_one_by_one(service)
        yield nothing_to_do()


# --- something to do ------------------------------------------------------------------------------


def many_are_deleted(service: Service) -> Row:
    note(f"{COUNT} images are made")
    ids = [str(image_id) for image_id in images(service, COUNT)]
    with client(service) as api:
        start = perf_counter()
        for first in range(0, COUNT, AT_ONCE):
            api.post(DELETE, json={"ids": ids[first : first + AT_ONCE]}).raise_for_status()
        called = perf_counter() - start
    while any((service.data / OBJECTS).glob("0*")):
        time.sleep(0.1)
    gone = perf_counter() - start
    work = f"{COUNT} images deleted, {COUNT * len(NAMES)} objects"
    return Row(10, work, f"ten calls: {called:.1f} s", f"bytes gone after {gone:.0f} s")


def beside_one_by_one(service: Service) -> Row:
    from media_api import images as product
    from media_api.models import Image, image_prefix
    from media_api.storage import image_storage

    def ours() -> float:
        ids = images(service, FEW)
        Image.objects.filter(id__in=ids).delete()
        return seconds(lambda: product.purge(ids))

    def theirs() -> float:
        ids, storage = images(service, FEW), image_storage()
        Image.objects.filter(id__in=ids).delete()

        def remove() -> None:
            for image_id in ids:
                for object_key in storage.keys(image_prefix(image_id)):
                    storage.client.delete_object(Bucket=storage.bucket_name, Key=object_key)

        return seconds(remove)

    ratio, own, others = in_turns(ours, theirs)
    beside = f"one by one: {own / FEW * 1000:.1f} to {others / FEW * 1000:.1f} ms"
    return Row(10, "the bytes of one of many removed", beside, str(ratio))


NUMBERS = count(1)
MADE = """
INSERT INTO media_api_image (id, owner_id, name, tags, path, stripped_path, size, date, content_type, width, height,
    frames, sha256, sides, placeholder, derived, version)
SELECT id, (SELECT id FROM auth_user WHERE username = 'bench'), 'cat.jpg', '{}', 'images/' || id || '/original.jpg',
    'images/' || id || '/original.jpg', 1000, now(), 'image/jpeg', 4032, 3024, 1, repeat('0', 64),
    '{320,640,1280,2560}', 'data:,', '{}', 1
FROM unnest(%s::uuid[]) AS id
"""


def images(service: Service, number: int) -> list[UUID]:
    """Rows, and objects of a few bytes where the bucket has its own."""
    from django.db import connection

    ids = [UUID(f"0198c9a4-7d2e-7000-8000-{next(NUMBERS):012x}") for _ in range(number)]
    for image_id in ids:
        folder = service.data / OBJECTS / str(image_id)
        folder.mkdir()
        for name in NAMES:
            (folder / name).write_bytes(b"x")
    with connection.cursor() as cursor:
        cursor.execute(MADE, [ids])
    time.sleep(2)  # the bucket looks at its folders anew each second
    return ids


def seconds(work: Callable[[], object]) -> float:
    start = perf_counter()
    work()
    return perf_counter() - start


# --- nothing to do --------------------------------------------------------------------------------


def nothing_to_do() -> Row:
    from django.contrib.auth.models import User

    from tests.test_idle import SWEEPS, fill

    note(f"{4 * ROWS} rows are made")
    fill(User.objects.get(username="bench"), ROWS)
    slowest = max(SWEEPS, key=milliseconds)
    cost = milliseconds(slowest)
    work = f"a sweep that finds nothing in {4 * ROWS} rows"
    return Row(10, work, f"{slowest.__name__}", f"{cost:.1f} ms of database", "< 5 ms", cost < 5)


def milliseconds(sweep: Callable[[], int]) -> float:
    """That its statements take, each time; the median."""
    from django.db import connection

    spent: list[float] = []

    def clock(execute: Callable[..., Any], *arguments: Any) -> Any:
        start = perf_counter()
        try:
            return execute(*arguments)
        finally:
            spent[-1] += (perf_counter() - start) * 1000

    with connection.execute_wrapper(clock):
        for _ in range(2 * TURNS):
            spent.append(0)
            sweep()
    return median(spent)


if __name__ == "__main__":
    report(rows())
